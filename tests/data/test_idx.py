import gzip
import hashlib
import struct

import numpy as np
import pytest
from small_runs import idx_bytes

from vae.data import idx
from vae.data.datasets import load_splits
from vae.data.download import load_idx_set
from vae.data.errors import DataError
from vae.data.idx import DIGESTS, FILES, decode
from vae.system import memory

LABELS, IMAGES = np.arange(6), np.zeros((6, 28, 28))
HARMS = {
    "truncated": lambda content: content[:-10],
    "flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "empty": lambda content: b"",
    "html": lambda content: b"<html>Sorry</html>" * 20,
}
SISTERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


@pytest.mark.parametrize("packed", [False, True])
def test_local_files_are_read_plain_or_packed(tmp_path, write_idx, idx_files, packed):
    write_idx(tmp_path, packed=packed)
    arrays = load_idx_set("mnist", tmp_path)
    assert arrays[FILES[0]].shape == (50, 28, 28) and arrays[FILES[3]].shape == (20,)
    for name, content in idx_files.items():
        assert arrays[name].numpy().tobytes() == content[8 if "labels" in name else 16 :]


PACKINGS = {
    "another level": lambda content: gzip.compress(content, 1),
    "another time": lambda content: gzip.compress(content, mtime=1),
    "two members": lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),
    "unpacked by the browser": lambda content: content,
}


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_the_official_content_is_accepted_however_it_is_packed(tmp_path, write_idx, idx_files, pack):
    raw = write_idx(tmp_path, packed=True)
    for file, content in idx_files.items():
        (raw / f"{file}.gz").write_bytes(pack(content))
    assert load_idx_set("mnist", tmp_path)[FILES[3]].tolist() == [i % 10 for i in range(20)]


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


@pytest.mark.parametrize("name", SISTERS)
def test_a_flipped_byte_of_a_plain_file_is_refused_in_every_set(tmp_path, idx_files, monkeypatch, name):
    hashes = {"mnist": hashlib.sha256, "fashion_mnist": hashlib.sha256, "kmnist": hashlib.md5}
    assert {len(digest) for digest in DIGESTS[name].values()} == {hashes[name]().digest_size * 2}
    small = {file: hashes[name](content).hexdigest() for file, content in idx_files.items()}
    monkeypatch.setitem(DIGESTS, name, small)
    raw = tmp_path / SISTERS[name] / "raw"
    raw.mkdir(parents=True)
    for file, content in idx_files.items():
        (raw / file).write_bytes(content)
    assert len(load_splits(name, tmp_path).train) == 50
    (raw / FILES[0]).write_bytes(HARMS["flipped"](idx_files[FILES[0]]))
    with pytest.raises(DataError, match=f"{FILES[0]} is damaged: its content is not the official file"):
        load_splits(name, tmp_path)


def test_swapped_files_are_refused_and_called_by_their_own_names(tmp_path, write_idx):
    raw = write_idx(tmp_path)
    for train, test in (FILES[::2], FILES[1::2]):
        (raw / train).rename(raw / "x")
        (raw / test).rename(raw / train)
        (raw / "x").rename(raw / test)
    with pytest.raises(DataError, match=f"{FILES[0]} .* it is {FILES[2]} of mnist"):
        load_idx_set("mnist", tmp_path)


def test_a_folder_in_a_file_s_place_is_refused(tmp_path, write_idx):
    raw = write_idx(tmp_path)
    (raw / FILES[0]).unlink()
    (raw / FILES[0]).mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        load_idx_set("mnist", tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_one_s_own_are_a_folder_s_data_set_under_its_name(tmp_path, packed):
    """They may have other counts and labels than the official sets."""
    root = tmp_path / "letters"
    root.mkdir()
    draw = np.random.default_rng(0)
    images = {"train": draw.integers(0, 256, (9, 28, 28)), "t10k": draw.integers(0, 256, (6, 28, 28))}
    for part, pixels in images.items():
        for kind, array in (("images-idx3", pixels), ("labels-idx1", 1 + np.arange(len(pixels)) * 5)):
            content = idx_bytes(array)
            (root / f"{part}-{kind}-ubyte{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
    splits = load_splits("folder", root)
    assert (splits.title, splits.name) == ("letters", "folder")
    assert (splits.train.images[:, 0].numpy() == images["train"]).all()
    assert (splits.test.images[:, 0].numpy() == images["t10k"]).all()
    assert splits.class_names == tuple(str(label) for label in range(1, 46, 5))
    assert [splits.class_names[label] for label in splits.test.labels] == ["1", "6", "11", "16", "21", "26"]
    next(root.glob(f"{FILES[3]}*")).unlink()
    with pytest.raises(DataError, match=f"no {FILES[3]}"):
        load_splits("folder", root)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FILES[1], idx_bytes(IMAGES), "magic number"),
        (FILES[0], idx_bytes(IMAGES)[:-1], "bytes of data"),
        (FILES[0], idx_bytes(IMAGES) + b"\0", "bytes of data"),
        (FILES[0], idx_bytes(IMAGES[:, :14]), "14×28 .*: save them as PNG files, which .* --image_size"),
        (FILES[0], struct.pack(">4I", 0x803, 2**31, 28, 28), "bytes of data"),
        (FILES[1], struct.pack(">2I", 0x801, 0), "bytes of data"),
        (FILES[1], b"\0\0", "magic number"),
    ],
)
def test_files_that_are_nobody_s_are_held_against_their_header(tmp_path, file, content, message):
    with pytest.raises(DataError, match=message):
        decode(tmp_path / file, content)


def test_a_small_file_that_unpacks_to_more_than_its_header_says_is_not_unpacked_whole(tmp_path):
    content = gzip.compress(idx_bytes(IMAGES) + bytes(1_000_000))
    with pytest.raises(DataError, match=f"{IMAGES.size + 1:,} bytes of data"):
        decode(tmp_path / FILES[0], content)


def test_a_small_file_that_unpacks_to_more_than_fits_into_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10_000_000)
    content = gzip.compress(struct.pack(">4I", 0x803, 10_000, 28, 28) + bytes(7_840_000))
    with pytest.raises(memory.TooLargeError, match=f"{FILES[0]}, unpacked, would take at least 15.7 MB"):
        decode(tmp_path / FILES[0], content)


def test_a_file_that_does_not_fit_into_memory_is_not_read(tmp_path, monkeypatch, write_idx):
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    with pytest.raises(memory.TooLargeError, match=f"{FILES[0]} would take"):
        load_splits("folder", write_idx(tmp_path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_of_one_s_own_may_be_larger_than_the_official_ones(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(idx, "MAX_BYTES", 1_000)
    assert len(decode(tmp_path / FILES[0], pack(idx_bytes(IMAGES)))) == len(IMAGES)


def test_a_file_that_is_packed_twice_says_so(tmp_path, write_idx):
    path = write_idx(tmp_path, packed=True) / f"{FILES[0]}.gz"
    path.write_bytes(gzip.compress(path.read_bytes()))
    for dataset, folder in (("mnist", tmp_path), ("folder", path.parent)):
        with pytest.raises(DataError, match="is packed twice: unpack it with gunzip"):
            load_splits(dataset, folder)


def test_unequal_counts_are_refused(tmp_path):
    for file in FILES:
        (tmp_path / file).write_bytes(idx_bytes(LABELS if "labels" in file else IMAGES[:4]))
    with pytest.raises(DataError, match=r"4 images in .* 6 labels"):
        load_splits("folder", tmp_path)
