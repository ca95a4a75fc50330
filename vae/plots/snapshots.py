"""What is kept of a model after an epoch, for the report: samples, and where it puts test images.

Shapes: N samples, M test images, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from vae.data.pixels import resize
from vae.system.console import short_path
from vae.system.files import FileError, write_npz

MAX_MEANS, MAX_NUMBERS = 2000, 100_000  # images whose means are kept, and numbers in all their means together
MAX_SIDE = 40  # pixels: larger samples are scaled down
MAX_BYTES = 1_000_000  # of a file, and of each array in it
DTYPES = {"samples": "|u1", "mu": "<f2", "columns": "<i8"}
LARGEST = 65504.0  # of float16
HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(.{3})', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n", re.S
)


class Snapshot(NamedTuple):
    """What a model decodes and encodes after an epoch: the same draws of z and the same images in every epoch."""

    samples: np.ndarray  # (N, C, H, W) uint8, in rows of `columns`
    mu: np.ndarray  # posterior means of the first test images, (M, D) float16
    columns: int


def snapshots_of(run_dir: Path) -> dict[int, Path]:
    """A run's snapshots by epoch, in order."""
    paths = [path for path in (run_dir / "epochs").glob("epoch_*.npz") if re.fullmatch(r"epoch_\d{3,9}", path.stem)]
    return dict(sorted((int(path.stem.removeprefix("epoch_")), path) for path in paths))


def write_snapshot(path: Path, samples: Tensor, mu: Tensor, *, columns: int) -> None:
    """Write a snapshot atomically.

    Args:
        path: the .npz file.
        samples: (N, C, H, W) in [0, 1].
        mu: posterior means of the first MAX_MEANS test images, (M, D); fewer are kept of very many latents.
        columns: samples in a row.
    """
    images = samples.mul(255).round().byte()
    kept = mu[: MAX_NUMBERS // mu.shape[1]].clamp(-LARGEST, LARGEST).half()
    small = resize(images, min(MAX_SIDE, images.shape[-1]))
    write_npz(path, {"samples": small, "mu": kept, "columns": np.array(columns, np.int64)})


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot: no code from the file runs, and no more than MAX_BYTES are unpacked for an array."""
    damaged = FileError(f"{short_path(path)} is damaged")
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise damaged
        with zipfile.ZipFile(path) as archive:
            samples, mu, columns = (_read_array(archive, name, dtype) for name, dtype in DTYPES.items())
    except (OSError, zipfile.BadZipFile, zlib.error, LookupError, ValueError, EOFError, RuntimeError):
        raise damaged from None
    sizes = (samples.ndim, mu.ndim, columns.ndim)
    if sizes != (4, 2, 0) or not samples.size or columns < 1 or len(samples) % columns or not np.isfinite(mu).all():
        raise damaged
    return Snapshot(samples, mu, int(columns))


def _read_array(archive: zipfile.ZipFile, name: str, dtype: str) -> np.ndarray:
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.file_size > MAX_BYTES:
        raise ValueError(name)
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size)  # a size makes it unpack that much and no more
    header = HEADER.match(content)
    if not header or header[1].decode() != dtype:
        raise ValueError(name)
    shape = [int(size) for size in header[2].decode().split(",") if size.strip()]
    if math.prod(shape) * np.dtype(dtype).itemsize != len(content) - header.end():
        raise ValueError(name)
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape)
