"""What this machine is and can do: device, native precision, memory, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from vae import __version__
from vae.system.errors import UsageError
from vae.system.wording import plural


def resolve_device(name: str) -> torch.device:
    """The device that `--device` names, which this machine must have; `auto` is a GPU if there is one."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    device = torch.device(name)
    gpus = torch.cuda.device_count() if cuda else 0
    if (device.type == "cuda" and (device.index or 0) >= gpus) or (device.type == "mps" and not mps):
        devices = ", ".join(["cpu", *(f"cuda:{index}" for index in range(gpus)), *(["mps"] if mps else [])])
        raise UsageError(f"--device {name}: not on this machine, which has {devices}")
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; `auto` is bf16 where the hardware reports native support for it, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = any(features.get(feature, False) for feature in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return "bf16" if native else "fp32"


def describe_device(device: torch.device) -> str:
    """For a person: `cpu, 2 threads`, `cuda:0, NVIDIA H200`."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device}, {threads} {plural(threads, 'thread')}" if device.type == "cpu" else str(device)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MB; `None` where the system doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux, bytes on macOS
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    packages = ("torchvision", "numpy", "scikit-learn", "matplotlib", "tensorboard")
    own = {"vae-mnist": __version__, "python": platform.python_version()}
    own |= {"torch": torch.__version__}  # torch's own names the build: +cu132, +cpu
    return own | {name: version(name) for name in packages}


def git_commit(file: Path = Path(__file__)) -> str | None:
    """The commit of this code, with `+changes` if files differ from it; `None` unless git tracks `file`.

    An installed package may lie in somebody else's repository, whose commit says nothing about this code.
    """
    file = file.resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
