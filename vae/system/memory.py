"""How much memory is free, and one line for what needs more."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vae.system.errors import UsageError

# The messages of PyTorch's allocators, on a CPU, on a GPU and in the libraries that it calls.
OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE)

MALLOPT = {"trim": -1, "mmap": -3}  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
KEPT = {"trim": 2**30, "mmap": 2**25}  # bytes; the second is the largest that every glibc takes


class TooLargeError(UsageError):
    """Something that needs more memory than is free."""


def require(needed: float, what: str, device: torch.device | str = "cpu") -> None:
    """Refuse what takes at least `needed` bytes and can't fit into a device's memory, before it is allocated.

    The message starts with `what`, such as `--image_size 256: the images`.
    """
    free = available(torch.device(device))
    if free is not None and needed > free:
        sizes = f"at least {format_bytes(needed)} of memory, and {format_bytes(free)} is free"
        raise TooLargeError(f"{what} would take {sizes} on {device}")


def available(device: torch.device) -> int | None:
    """Bytes that are free; `None` where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    try:
        meminfo = Path("/proc/meminfo").read_text()
    except OSError:  # not Linux
        return None
    return 1024 * sum(map(int, re.findall(r"^(?:MemAvailable|SwapFree): +(\d+) kB", meminfo, re.MULTILINE))) or None


def keep_freed() -> None:
    """Let this process keep the memory that a training step frees, for the next one to use.

    By default glibc returns it to the system, which clears every page when it hands it out again: a convolutional
    step spends up to a third of its time on that. Elsewhere than on glibc this is a no-op.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for name, option in MALLOPT.items():
            mallopt(option, KEPT[name])


def format_bytes(size: float) -> str:
    """Bytes for a person: `3.2 GB`."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:,.3g} TB"


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Replace what NumPy and PyTorch raise when an allocation fails by a `TooLargeError`, which is one line."""
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "lower --batch_size or --num_samples, make the model smaller, or choose another --device"
        raise TooLargeError(f"out of memory: {hint}") from None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an allocation failed, or this error followed from one that did, as a half-written file does."""
    while error:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))):
            return True
        error = error.__context__
    return False
