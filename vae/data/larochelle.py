"""Larochelle & Murray's fixed binarisation of MNIST, from the three .amat files that people keep of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae.data.download import DataError

COUNTS = {"train": 50_000, "valid": 10_000, "test": 10_000}
SIDE = 28


def amat_path(data_dir: Path, part: str) -> Path:
    """Where a part's file is looked for."""
    return data_dir / f"binarized_mnist_{part}.amat"


def have_static_files(data_dir: Path) -> bool:
    """Whether all three files are there.

    Raises:
        DataError: some are there and some are not.
    """
    missing = [path for path in (amat_path(data_dir, part) for part in COUNTS) if not path.is_file()]
    if 0 < len(missing) < len(COUNTS):
        raise DataError(
            f"{missing[0]} is missing beside the other Larochelle & Murray files: add it, or take them away"
        )
    return not missing


def read_amat(data_dir: Path, part: str) -> Tensor:
    """One part as uint8 images of 0 and 255, (N, 1, 28, 28).

    Raises:
        DataError: the file is not lines of 784 zeros and ones, or not as many as it should be.
    """
    path, count = amat_path(data_dir, part), COUNTS[part]
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    digits = content[~np.isin(content, np.frombuffer(b" \t\r\n", dtype=np.uint8))]
    expected = count * SIDE * SIDE
    if len(digits) != expected or not np.isin(digits, np.frombuffer(b"01", dtype=np.uint8)).all():
        raise DataError(f"{path} is damaged: expected {count:,} lines of {SIDE * SIDE} zeros and ones; fetch it again")
    return torch.from_numpy((digits == ord("1")) * np.uint8(255)).reshape(count, 1, SIDE, SIDE)


def same_images(binary: Tensor, grey: Tensor) -> bool:
    """Whether each binary image can be a draw from the grey one at its place: no white where that is black."""
    return binary.shape == grey.shape and not bool(((binary > 0) & (grey == 0)).any())
