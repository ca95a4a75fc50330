import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_runs import ROOT

from vae.data import splits as module
from vae.data.batches import shuffled_batches
from vae.data.cache import as_tensor
from vae.data.splits import Split

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
LABELS = torch.arange(60) % 7


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    return Split(as_tensor(np.load(tmp_path / "x.npy", mmap_mode="r")), LABELS, is_mapped=True)


@pytest.fixture
def in_memory():
    return Split(torch.from_numpy(IMAGES), LABELS)


def same(left, right):
    return torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)


def test_mapped_images_are_those_in_memory_whatever_is_done_with_them(mapped, in_memory):
    assert same(mapped, in_memory)
    index = torch.tensor([5, 3, 3, 50])
    for ours, theirs in zip(mapped.hold_out(9, seed=1), in_memory.hold_out(9, seed=1), strict=True):
        assert same(ours, theirs) and ours.rows is not None and ours.stored.data_ptr() == mapped.stored.data_ptr()
        for one, other in zip(ours.hold_out(4, seed=2), theirs.hold_out(4, seed=2), strict=True):
            assert same(one, other)
        assert torch.equal(torch.cat([images for images, _ in ours.chunks(7)]), theirs.images)
        assert torch.equal(ours.in_file_order().images, mapped.images[ours.rows.sort().values])
        batches = [list(shuffled_batches(split, 7, torch.Generator().manual_seed(3))) for split in (ours, theirs)]
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(*batches, strict=True))
        assert same(ours.convert(lambda images: 255 - images), theirs.convert(lambda images: 255 - images))
    assert same(mapped.take(index), in_memory.take(index))


def test_large_images_are_read_a_few_at_a_time(mapped, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_PIXELS", 5 * 16 + 1)
    assert [len(images) for images, _ in mapped.chunks(1000)] == [5] * 12
    assert [len(images) for images, _ in mapped.chunks(25, exactly=True)] == [25, 25, 10]


@pytest.mark.parametrize("fits", [True, False])
def test_mapped_images_go_to_a_device_only_if_they_fit(mapped, in_memory, monkeypatch, fits):
    """`meta` stands for the device: its tensors have places, and no values."""
    monkeypatch.setattr("vae.system.memory.available", lambda device: 4000 if fits else 1000)
    meta = torch.device("meta")
    _, part = mapped.hold_out(50, seed=0)
    for split in (mapped.to(meta), part.to(meta)):
        assert split.stored.device.type == ("meta" if fits else "cpu") and split.device == meta
        if fits:
            assert split.gather(torch.arange(3)).device == meta and split.rows is None
    assert in_memory.to(meta).stored.device == meta


LIMITED = """
import resource, sys
import main, vae.runs.launch
in_use = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
limit = int(sys.argv[1]) or in_use + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
sys.exit(main.main(sys.argv[3:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does, which doesn't count mapped files")
def test_images_that_exceed_the_memory_are_trained_from_scored_and_drawn(tmp_path):
    """0.9 GB, of which 0.73 are trained from, with 0.62 GB of memory.

    `VAE_PAST_MEMORY=10` makes it 10 GB with 3 GB for everything, Python included. The file has holes, which take no
    room on the disk.
    """
    size = float(os.environ.get("VAE_PAST_MEMORY", "0")) * 1e9
    shape = (int((size or 0.9e9) // (3 * 64 * 64)), 3, 64, 64)
    with (tmp_path / "x.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        stream.truncate(stream.tell() + math.prod(shape))
    flags = (
        "--dataset arrays --data_dir x.npy --image_size 64 --hidden_dims 2 --num_epochs 1 --val_split 0.1 --mean_bias"
    )
    flags += " --batch_size 256 --tsne_samples 10 --device cpu --run_name x"
    limits = ["3000000000" if size else "0", "620000000"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *limits, *flags.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "x" / "report.html").exists()
