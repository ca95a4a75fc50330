"""Larochelle & Murray's fixed binarisation of MNIST (2011), from the three .amat files in which it is passed on."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae.data.idx import DataError

COUNTS = {"train": 50_000, "valid": 10_000, "test": 10_000}
SIDE = 28


def amat_path(data_dir: Path, part: str) -> Path:
    """Return where the file of a part is expected."""
    return data_dir / f"binarized_mnist_{part}.amat"


def have_static_files(data_dir: Path) -> bool:
    """Return whether all three files exist.

    Raises:
        DataError: only some of them exist.
    """
    missing = [path for path in (amat_path(data_dir, part) for part in COUNTS) if not path.is_file()]
    if 0 < len(missing) < len(COUNTS):
        raise DataError(f"{missing[0]} is missing beside the other Larochelle & Murray files: add it, or remove them")
    return not missing


def read_amat(data_dir: Path, part: str) -> Tensor:
    """Read one part as uint8 images of 0 and 255, (N, 1, 28, 28).

    Raises:
        DataError: the file can't be read, or is not as many lines of 784 zeros and ones as it should be.
    """
    path, count = amat_path(data_dir, part), COUNTS[part]
    try:
        with warnings.catch_warnings(action="ignore"):  # an empty file is refused below
            rows = np.loadtxt(path, dtype=np.uint8, comments=None, ndmin=2, max_rows=count + 1)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    except ValueError:
        rows = np.empty((0, 0), np.uint8)
    if rows.shape != (count, SIDE * SIDE) or rows.max() > 1:
        raise DataError(
            f"{path} is damaged: expected {count:,} lines of {SIDE * SIDE} zeros and ones; download it again"
        )
    return torch.from_numpy(rows * np.uint8(255)).reshape(count, 1, SIDE, SIDE)


def same_images(binary: Tensor, grey: Tensor) -> bool:
    """Return whether each binary image can be a draw from its grey one: not white where that is black."""
    return binary.shape == grey.shape and not bool(((binary > 0) & (grey == 0)).any())
