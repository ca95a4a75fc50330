"""What is too large for the memory is refused in one line before it is allocated; what fits is not."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import MAIN, QUICK, run_main

from main import main
from vae.system import memory
from vae.system.memory import TooLargeError

GB = 10**9


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory there seems to be."""
    return lambda size: monkeypatch.setattr(memory, "available", lambda device: size)


def test_images_and_samples_that_can_t_fit_are_refused_before_they_are_made(finished_run, tmp_path, free, capsys):
    run_dir = str(finished_run / "outputs/whole")
    free(GB // 10)
    assert run_main(tmp_path, "--image_size", "256") == 2
    flags = ["--num_samples", "100000", "--format", "npz", "--output", str(tmp_path / "x.npz"), "--device", "cpu"]
    assert main(["sample", "--run", run_dir, *flags]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: --image_size 256: 1,797 images") and "100,000 images of 1×28×28" in second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["train"], ["sample", "--format", "npz", "--num_samples", "100000"]])
def test_an_allocation_that_fails_gives_one_line(finished_run, tmp_path, flags):
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
def test_out_of_memory_errors_become_one_line_and_bugs_keep_their_traceback(error):
    with pytest.raises(TooLargeError, match=r"^out of memory: lower --batch_size"), memory.explain_out_of_memory():
        raise error
    with pytest.raises(RuntimeError, match="shapes"), memory.explain_out_of_memory():
        raise RuntimeError("shapes cannot be multiplied")


def test_available_memory_is_what_linux_can_give_and_its_free_swap(monkeypatch):
    text = "MemTotal:       99 kB\nMemAvailable:   10 kB\nSwapFree:        2 kB\n"
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    assert memory.available(torch.device("cpu")) == 12 * 1024


def test_where_the_system_doesn_t_say_nothing_is_refused(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert memory.available(torch.device("cpu")) is None is memory.available(torch.device("mps"))
    memory.require(1e30, "all of it")


@pytest.mark.skipif(sys.platform != "linux" or not platform.libc_ver()[0], reason="glibc's allocator")
def test_memory_that_was_freed_is_used_again_without_the_system():
    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(2**22) for _ in range(8)]  # of 16 MB
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    memory.keep_freed()
    assert min(faults() for _ in range(5)) < 8192  # of 32,768 pages: at first the blocks may come to lie elsewhere
