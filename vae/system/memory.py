"""How much memory there is, and one line in place of a process that dies for want of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from vae.system.errors import UsageError

# What PyTorch's allocators say, on a CPU, on a GPU and in the libraries that it calls.
OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE)
CGROUPS = {  # of the memory controller, version 2 and 1: limit, use, and the part of its statistics that can be freed
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class TooLargeError(UsageError):
    """More than this machine's memory holds."""


def require(needed: float, what: str, device: torch.device | str = "cpu") -> None:
    """Refuse what can't fit before any of it is made.

    Args:
        needed: bytes, at the least.
        what: begins the message, such as `--image_size 256: the images`.
        device: whose memory.

    Raises:
        TooLargeError: one line with both numbers.
    """
    free = available(torch.device(device))
    if free is not None and needed > free:
        sizes = f"at least {format_bytes(needed)} of memory, and {format_bytes(free)} is free"
        raise TooLargeError(f"{what} would take {sizes} on {device}")


def available(device: torch.device) -> int | None:
    """Bytes that can still be had; `None` where the system doesn't tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    return min([*_system_free(Path("/proc/meminfo")), *_cgroup_free(Path("/proc/self/cgroup"))], default=None)


def _system_free(meminfo: Path) -> Iterator[int]:
    """What Linux could give without harming anyone, swap included."""
    with suppress(OSError, KeyError, ValueError):
        found = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        yield 1024 * sum(int(found[name].split()[0]) for name in ("MemAvailable", "SwapFree"))


def _cgroup_free(membership: Path, root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What each of the groups that this process is in leaves of its limit: containers and batch systems set them."""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in {"", "memory"} & set(controllers.split(",")):
                folder = root / controller / path.lstrip("/")
                for level in (folder, *folder.parents):
                    if level.is_relative_to(root):
                        yield from _group_free(level, *CGROUPS[controller])


def _group_free(folder: Path, limit: str, use: str, freeable: str) -> Iterator[int]:
    with suppress(OSError, ValueError, KeyError):  # no such level, or a limit of "max"
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / use).read_text()) - int(statistics[freeable])
        yield max(0, int((folder / limit).read_text()) - used)


def format_bytes(size: float) -> str:
    """Bytes for a person: `3.2 GB`."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:,.3g} TB"


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Tell an allocation that failed in one line.

    Raises:
        TooLargeError: in place of what NumPy and PyTorch raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "try a smaller --batch_size or model, or another --device"
        raise TooLargeError(f"this machine's memory is used up: {hint}") from None


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an allocation failed, or an error came of one that did: a file half written, a stream not closed."""
    while error:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))):
            return True
        error = error.__context__
    return False
