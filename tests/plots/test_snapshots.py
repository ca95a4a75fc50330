"""What is kept of an epoch: written, read back, and refused where it is damaged."""

import io
import os
import pickle
import random
import zipfile

import numpy as np
import pytest
import torch
from mutants import mutate

from vae.plots.snapshots import MAX_BYTES, read_snapshot, snapshots_of, write_snapshot
from vae.system.files import FileError, write_npz


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epoch_003.npz"


@pytest.fixture
def arrays():
    """What a snapshot holds."""
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    return {"samples": samples, "mu": rng.normal(size=(5, 2)).astype(np.float16), "columns": np.array(3, np.int64)}


def test_a_snapshot_is_read_as_it_was_written(path):
    samples, mu = torch.rand(6, 1, 28, 28), 3 * torch.randn(50, 4)
    write_snapshot(path, samples, mu, columns=2)
    snapshot = read_snapshot(path)
    assert (np.abs(snapshot.samples / 255 - samples.numpy()) <= 0.51 / 255).all()
    np.testing.assert_allclose(snapshot.mu, mu, rtol=1e-3)
    assert snapshot.columns == 2 and snapshot.mu.dtype == np.float16
    content = path.read_bytes()
    write_snapshot(path, samples, mu, columns=2)
    assert path.read_bytes() == content


def test_large_samples_and_very_many_latents_stay_small(path):
    write_snapshot(path, torch.rand(160, 3, 64, 64), 1e6 * torch.randn(2000, 200), columns=20)
    snapshot = read_snapshot(path)
    assert snapshot.samples.shape == (160, 3, 40, 40) and snapshot.mu.shape == (500, 200)
    assert np.isfinite(snapshot.mu).all() and path.stat().st_size < MAX_BYTES


def test_snapshots_are_listed_by_epoch(tmp_path):
    (tmp_path / "epochs").mkdir()
    names = ("epoch_1000.npz", "epoch_020.npz", "epoch_003.npz", ".epoch_021.npz.7.tmp", "epoch_x.npz", "epoch_003.png")
    for name in (*names, f"epoch_{200 * '9'}.npz"):
        (tmp_path / "epochs" / name).touch()
    assert [(epoch, path.name) for epoch, path in snapshots_of(tmp_path).items()] == [
        (3, "epoch_003.npz"),
        (20, "epoch_020.npz"),
        (1000, "epoch_1000.npz"),
    ]


class Payload:
    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": np.zeros((6, 1, 8, 8), np.float32)},
        {"samples": np.zeros((6, 8, 8), np.uint8)},
        {"samples": np.zeros((0, 1, 8, 8), np.uint8)},
        {"samples": np.asfortranarray(np.zeros((6, 3, 8, 8), np.uint8))},
        {"mu": np.full((5, 2), np.nan, np.float16)},
        {"mu": np.zeros((5, 2))},
        {"mu": np.zeros(10, np.float16)},
        {"columns": np.array(0)},
        {"columns": np.array(4)},
        {"columns": np.array([3])},
        {"samples": np.array([Payload()], dtype=object)},
    ],
)
def test_what_is_no_snapshot_is_refused(path, arrays, change, monkeypatch):
    monkeypatch.chdir(path.parent)
    write_npz(path, arrays)
    assert read_snapshot(path).columns == 3
    write_npz(path, arrays | change)
    with pytest.raises(FileError, match=r"epoch_003\.npz is damaged"):
        read_snapshot(path)
    assert not (path.parent / "owned").exists()


def test_a_missing_file_a_folder_and_a_pipe_are_refused(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for other in (path, tmp_path, tmp_path / "pipe"):
        with pytest.raises(FileError):
            read_snapshot(other)


def header_of(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        header_of((1, 1, 3000, 3000)) + bytes(9_000_000),
        header_of((10**9, 10**9, 10**9, 10**9)),
        pickle.dumps(Payload()),
        b"",
    ],
    ids=["a bomb", "a shape of 1e36", "a pickle", "nothing"],
)
def test_no_more_is_unpacked_than_a_snapshot_may_hold(path, arrays, content, monkeypatch):
    monkeypatch.chdir(path.parent)
    write_npz(path, arrays)
    parts = {name: zipfile.ZipFile(path).read(name) for name in ("mu.npy", "columns.npy")} | {"samples.npy": content}
    read = []
    real = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda stream, size: read.append(size) or real(stream, size))
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, part in parts.items():
                archive.writestr(name, part)
        with pytest.raises(FileError):
            read_snapshot(path)
    assert sum(read) < 3 * MAX_BYTES and not (path.parent / "owned").exists()


@pytest.mark.filterwarnings("ignore")  # zipfile warns of what it finds odd
def test_a_damaged_snapshot_is_read_or_refused_in_one_line(path, arrays):
    write_npz(path, arrays)
    content, outcomes = path.read_bytes(), set()
    for number in range(int(os.environ.get("VAE_MUTANTS", "300"))):
        path.write_bytes(mutate(content, random.Random(number)))
        try:
            snapshot = read_snapshot(path)
        except FileError as error:
            outcomes.add("\n" in str(error))
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        else:
            assert len(snapshot.samples) % snapshot.columns == 0
    assert outcomes == {False}
