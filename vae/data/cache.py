"""Images that were decoded or converted once: files of uint8 in the user's cache, mapped into memory.

A file is complete or isn't there, whatever ends the process that writes it. Two processes that want the same images
decode them once. Where nothing can be kept, images are decoded into memory each time.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from vae.system import memory
from vae.system.files import wait_for_lock

logger = logging.getLogger(__name__)

Shape = tuple[int, int, int, int]
Create = Callable[[Shape], np.ndarray]  # an array of this shape, to be filled
NOTED = 50_000_000  # bytes: where a larger file is kept, a line says so


def cache_dir() -> Path:
    """`VAE_CACHE_DIR` or, in the user's own cache, `vae-mnist`."""
    if named := os.environ.get("VAE_CACHE_DIR"):
        return Path(named)
    user_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 — this one never fails
    return Path(user_cache, "vae-mnist")


def load_or_build(source: str, state: str, build: Callable[[Create], np.ndarray]) -> np.ndarray:
    """Images (N, C, H, W) uint8, mapped from the cache, or built and kept there.

    Args:
        source: what they are made of and how. Images of the same source in another state are removed.
        state: everything that changes when the source does.
        build: creates an array, fills it and returns it; what it creates and doesn't return is dropped.
    """
    folder, stem = cache_dir(), hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()[:16]
    path = folder / f"{stem}-{hashlib.sha256(state.encode(errors='surrogateescape')).hexdigest()[:16]}.npy"
    if (images := _open(path)) is not None:
        return images
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with wait_for_lock(folder / f"{stem}.lock", waiting_for="another process that decodes the same images"):
            if (images := _open(path)) is not None:
                return images
            for outdated in folder.glob(f"*{stem}-*"):
                outdated.unlink()
            _write(path, build)
    except OSError as error:
        logger.info("decoded images are not kept, so they take memory: %s: %s", error.strerror or error, folder)
        return build(in_memory)
    images = _open(path)
    assert images is not None
    if images.nbytes > NOTED:
        logger.info("kept for the next time: %s in %s, which may be deleted", memory.format_bytes(images.nbytes), path)
    return images


def _open(path: Path) -> np.ndarray | None:
    """Map a file of images; `None` if there is none, or it is damaged."""
    try:
        images: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_usable = images.dtype == np.uint8 and images.ndim == 4 and images.flags.c_contiguous
    return images if is_usable else None


def _write(path: Path, build: Callable[[Create], np.ndarray]) -> None:
    """Build images in a scratch file, which becomes `path` once all of it is on the disk."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def create(shape: Shape) -> np.ndarray:
        with scratch.open("w+b") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            return _map(stream, shape)

    try:
        images = build(create)
        assert isinstance(images, np.memmap)
        images.flush()
        scratch.replace(path)
    finally:
        with suppress(OSError):  # after a success it is gone
            scratch.unlink()


def in_memory(shape: Shape) -> np.ndarray:
    """An array to be filled, if there is memory for it."""
    memory.require(np.prod(shape, dtype=float), f"{shape[0]:,} images of {shape[3]}×{shape[2]} pixels")
    return np.empty(shape, dtype=np.uint8)


def _map(stream: BinaryIO, shape: Shape) -> np.ndarray:
    """Map what follows in a file, for which there must be room: a mapped file can't report a full disk."""
    stream.flush()
    start, size = stream.tell(), int(np.prod(shape, dtype=object))
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), start, size)
    return np.memmap(stream, mode="r+", dtype=np.uint8, offset=start, shape=shape)


def require_room(stream: BinaryIO, size: int, what: str) -> None:
    """Refuse to write more bytes into a file than its disk has room for."""
    if not hasattr(os, "fstatvfs"):  # Windows
        return
    disk = os.fstatvfs(stream.fileno())
    if size > (free := disk.f_bavail * disk.f_frsize):
        sizes = f"{memory.format_bytes(size)} of disk, and {memory.format_bytes(free)} is free"
        raise memory.TooLargeError(f"{what}, unpacked, would take {sizes} for the cache: see VAE_CACHE_DIR")


@contextmanager
def scratch_file() -> Iterator[BinaryIO]:
    """A file without a name, beside the cache if possible; what is mapped of it lasts until nothing refers to it."""
    with suppress(OSError):
        cache_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = cache_dir() if os.access(cache_dir(), os.W_OK) else None
    with tempfile.TemporaryFile(dir=folder) as stream:
        yield stream


def scratch_images(shape: Shape) -> Tensor:
    """Images (N, C, H, W) uint8 to be filled, in a file that ends with this process; in memory if there is no room."""
    try:
        with scratch_file() as stream:
            return torch.from_numpy(_map(stream, shape))
    except OSError:
        return torch.from_numpy(in_memory(shape))


def as_tensor(images: np.ndarray) -> Tensor:
    """A tensor of the same memory, which must not be written to if it is mapped."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)
