import gzip
import hashlib
import struct

import numpy as np
import pytest
from small_runs import idx_bytes

from vae.data import idx
from vae.data.download import load_idx_set
from vae.data.idx import FILES, DataError, read_idx

LABELS, IMAGES = np.arange(6), np.zeros((6, 28, 28))
HARMS = {
    "truncated": lambda content: content[:-10],
    "flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "empty": lambda content: b"",
    "html": lambda content: b"<html>Sorry</html>" * 20,
}


@pytest.mark.parametrize("packed", [False, True])
def test_local_files_are_read_plain_or_packed(tmp_path, write_idx, idx_files, packed):
    write_idx(tmp_path, packed=packed)
    arrays = load_idx_set("mnist", tmp_path)
    assert arrays[FILES[0]].shape == (50, 28, 28) and arrays[FILES[3]].shape == (20,)
    for name, content in idx_files.items():
        assert arrays[name].numpy().tobytes() == content[8 if "labels" in name else 16 :]


def test_a_read_only_folder_works(tmp_path, write_idx):
    raw = write_idx(tmp_path)
    before = sorted(raw.rglob("*"))
    raw.chmod(0o555)
    load_idx_set("mnist", tmp_path)
    assert sorted(raw.rglob("*")) == before


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("file", "harm"), list(zip(FILES, HARMS, strict=True)))
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, write_idx, file, harm, packed):
    path = write_idx(tmp_path, packed=packed) / (file + ".gz" * packed)
    path.write_bytes(HARMS[harm](path.read_bytes()))
    with pytest.raises(DataError, match="delete it and run again") as caught:
        load_idx_set("mnist", tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_swapped_files_and_a_folder_in_a_file_s_place_are_refused(tmp_path, write_idx):
    raw = write_idx(tmp_path)
    (raw / FILES[0]).rename(raw / "x")
    (raw / FILES[2]).rename(raw / FILES[0])
    (raw / "x").rename(raw / FILES[2])
    with pytest.raises(DataError, match="SHA-256"):
        load_idx_set("mnist", tmp_path)
    (raw / FILES[0]).unlink()
    (raw / FILES[0]).mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        load_idx_set("mnist", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FILES[1], idx_bytes(LABELS + 5), "out of range"),
        (FILES[1], idx_bytes(IMAGES), "magic number"),
        (FILES[0], idx_bytes(IMAGES)[:-1], "bytes of data"),
        (FILES[0], idx_bytes(IMAGES) + b"\0", "bytes of data"),
        (FILES[0], idx_bytes(IMAGES[:, :14]), "bytes of data"),
        (FILES[0], struct.pack(">4I", 0x803, 2**31, 2**31, 2**31), "bytes of data"),
        (FILES[1], struct.pack(">2I", 0x801, 0), "bytes of data"),
        (FILES[1], b"\0\0", "magic number"),
    ],
)
def test_files_without_a_published_digest_are_held_against_their_header(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx("kmnist", tmp_path / file)


def test_packed_files_of_the_sister_sets_are_held_against_their_md5(tmp_path, monkeypatch):
    path = tmp_path / f"{FILES[1]}.gz"
    path.write_bytes(gzip.compress(idx_bytes(LABELS)))
    with pytest.raises(DataError, match="MD5"):
        read_idx("fashion_mnist", path)
    monkeypatch.setitem(idx.MD5_GZ["fashion_mnist"], FILES[1], hashlib.md5(path.read_bytes()).hexdigest())
    assert read_idx("fashion_mnist", path).tolist() == LABELS.tolist()


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MAX_BYTES", 10_000)
    monkeypatch.setattr(idx, "_parse_idx", lambda path, content: len(content))
    (tmp_path / f"{FILES[0]}.gz").write_bytes(gzip.compress(bytes(1_000_000)))
    assert read_idx("digits", tmp_path / f"{FILES[0]}.gz") == 10_001


def test_unequal_counts_are_refused(tmp_path):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes(idx_bytes(LABELS if "labels" in file else IMAGES[:4]))
    with pytest.raises(DataError, match=r"4 images in .* 6 labels"):
        load_idx_set("kmnist", tmp_path)
