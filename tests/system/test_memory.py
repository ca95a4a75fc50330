"""What is far too large is refused in one line before any of it is made; what fits is not."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import MAIN, QUICK, run_main

from main import main
from vae.config import Config, presets
from vae.model.build import build_model
from vae.runs import tracking
from vae.system import memory
from vae.system.memory import TooLargeError
from vae.training import footprint

GB = 10**9
CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory there seems to be."""
    return lambda size: monkeypatch.setattr(memory, "available", lambda device: size)


def fits(shape=(1, 28, 28), images=60_000, **knobs):
    footprint.check_fits(Config(**knobs), shape, num_classes=10, images=images, device=CPU)


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_preset_fits_into_a_small_machine(free, preset):
    free(GB // 5)
    footprint.check_fits(presets.configure({"preset": preset}), (1, 28, 28), num_classes=10, images=60_000, device=CPU)


def test_all_of_mnist_as_one_batch_fits_too(free):
    free(1 * GB)
    fits(batch_size=60_000)
    fits(batch_size=1_000_000)  # no more than there are images


TOO_LARGE = {
    "--batch_size 60000": {"batch_size": 60_000, "arch": "conv"},
    "--num_samples_train 10000": {"num_samples_train": 10_000, "batch_size": 1000, "objective": "iwae"},
    "--hidden_dims 65536 65536": {"hidden_dims": (65536, 65536)},
    "--base_channels 4096": {"base_channels": 4096, "arch": "conv"},
    "--num_pseudo_inputs 100000": {"num_pseudo_inputs": 100_000, "prior": "vamp", "batch_size": 60_000},
    "--prior_width 65536": {"prior_width": 65536, "prior": "flow"},
}


@pytest.mark.parametrize("flag", TOO_LARGE)
def test_what_is_too_large_names_its_flag_and_both_numbers(free, flag):
    free(16 * GB)
    started = time.monotonic()
    with pytest.raises(TooLargeError, match=rf"^{flag}: training .* at least [\d.,]+ [GT]B .* 16 GB is free") as caught:
        fits(**TOO_LARGE[flag])
    assert "\n" not in str(caught.value) and time.monotonic() - started < 5


def test_images_too_large_for_the_net_name_their_size(free):
    free(2 * GB)
    with pytest.raises(TooLargeError, match=r"^--image_size 256: training"):
        fits(shape=(3, 256, 256), image_size=256, arch="conv")


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_weights_are_counted_exactly(ema):
    config = Config(ema=ema)
    count = sum(weights.numel() for weights in build_model(config, image_shape=(1, 28, 28), num_classes=0).parameters())
    assert footprint.weights_bytes(config, (1, 28, 28), 0) == 4 * count * (5 if ema else 4)


ONE_BATCH = """
import json, sys, torch
from vae.model.build import build_model
from vae.training.optimizer import build_optimizer
from vae.config import Config
from vae.data import Split
from vae.training.footprint import batch_bytes
from vae.training.epoch import train_epoch
config = Config(**json.loads(sys.argv[1]))
def resident(name): return 1024 * int(next(l for l in open("/proc/self/status") if l.startswith(name)).split()[1])
model = build_model(config, image_shape=(1, 28, 28), num_classes=0)
optimizer = build_optimizer(config, model)
images = torch.randint(0, 256, (config.batch_size, 1, 28, 28), dtype=torch.uint8)
data, before = Split(images, torch.zeros(len(images), dtype=torch.int64)), resident("VmRSS")
train_epoch(model, data, optimizer, config, epoch=1, generator=torch.Generator())
print((resident("VmHWM") - before) / batch_bytes(config, (1, 28, 28), len(images)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures with Linux' /proc")
@pytest.mark.parametrize(
    "knobs",
    [
        '{"batch_size": 30000}',
        '{"batch_size": 30000, "precision": "bf16"}',
        '{"batch_size": 1000, "arch": "conv"}',
        '{"batch_size": 1000, "arch": "conv", "precision": "bf16"}',
        '{"batch_size": 3000, "objective": "iwae", "num_samples_train": 10}',
        '{"batch_size": 10000, "prior": "vamp"}',
        '{"batch_size": 10000, "prior": "flow", "latent_dim": 20}',
        '{"batch_size": 10000, "hidden_dims": [512, 512], "block": "residual"}',
    ],
)
def test_a_batch_takes_no_less_than_was_reckoned(knobs):
    done = subprocess.run([sys.executable, "-c", ONE_BATCH, knobs], capture_output=True, text=True, check=True)
    assert 1 <= float(done.stdout) < 10


def test_a_training_that_can_t_fit_leaves_no_run(tmp_path, capsys):
    assert run_main(tmp_path, "--hidden_dims", "65536", "65536", "65536", "65536", "65536", "65536") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --hidden_dims") and err.count("\n") == 1 and not (tmp_path / "outputs").exists()


def test_images_and_samples_that_can_t_fit_are_refused_before_they_are_made(finished_run, tmp_path, free, capsys):
    run_dir = str(finished_run / "outputs/whole")
    free(GB // 10)
    assert run_main(tmp_path, "--image_size", "256") == 2
    flags = ["--num_samples", "100000", "--format", "npz", "--output", str(tmp_path / "x.npz"), "--device", "cpu"]
    assert main(["sample", "--run", run_dir, *flags]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: --image_size 256: 1,797 images") and "100,000 images of 1×28×28" in second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["train"], ["sample", "--format", "npz", "--num_samples", "100000"]])
def test_an_allocation_that_fails_is_told_in_one_line(finished_run, tmp_path, flags):
    """Address space enough for the program, and not for its work."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    if flags == ["train"]:
        size = 6 * GB
        flags = [*QUICK, "--hidden_dims", "20000", "20000", "--device", "cpu"]
    else:
        size = 4 * GB
        flags = [*flags, "--run", str(finished_run / "outputs/whole"), "--output", "x.npz", "--device", "cpu"]
    command = [sys.executable, MAIN, *flags, "--threads", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and "memory" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory"),
    ],
)
def test_what_libraries_say_is_told_in_one_line_and_bugs_keep_their_traceback(error):
    with pytest.raises(TooLargeError, match="memory is used up"), memory.explain_out_of_memory():
        raise error
    with pytest.raises(RuntimeError, match="shapes"), memory.explain_out_of_memory():
        raise RuntimeError("shapes cannot be multiplied")


def write(folder, **files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_container_s_limit_counts_of_both_kinds_and_of_every_level(tmp_path):
    membership = tmp_path / "cgroup"
    two, one = tmp_path / "two", tmp_path / "one"
    stat = "anon 5\ninactive_file 100\n"
    write(two / "batch", memory__max="5000", memory__current="1000", memory__stat=stat)
    write(two / "batch/job", memory__max="max", memory__current="700", memory__stat=stat)
    membership.write_text("0::/batch/job\n")
    assert list(memory._cgroup_free(membership, two)) == [4100]
    stat = "total_inactive_file 100\n"
    write(
        one / "memory/job", **{"memory__limit_in_bytes": "5000", "memory__usage_in_bytes": "6000", "memory__stat": stat}
    )
    membership.write_text("5:cpu,cpuacct:/x\n4:memory:/job\n0::/\n")
    assert list(memory._cgroup_free(membership, one)) == [0]
    assert list(memory._cgroup_free(tmp_path / "none", one)) == []


def test_available_memory_is_what_linux_says(tmp_path):
    text = "MemTotal: 99 kB\nMemAvailable:   10 kB\nSwapFree:  2 kB\n"
    (tmp_path / "meminfo").write_text(text)
    assert list(memory._system_free(tmp_path / "meminfo")) == [12 * 1024]
    assert list(memory._system_free(tmp_path / "none")) == []


def test_the_projector_s_thumbnails_fit_into_one_picture_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "SPRITE", 100)
    tracker = tracking.Tracker(tmp_path / "metrics.jsonl", tmp_path / "log", [])
    tracker.log_embedding(torch.zeros(9, 2), ["x"] * 9, torch.zeros(9, 1, 50, 50, dtype=torch.uint8), 1)
    tracker.close()
    (sprite,) = (tmp_path / "log").glob("*/*/sprite.png")
    with Image.open(sprite) as picture:
        assert picture.size == (99, 99)
