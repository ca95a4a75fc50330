"""Larochelle & Murray's fixed binarisation of MNIST (2011), from the three .amat files in which it is passed on."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae.data.download import FOLDERS, load_idx_set
from vae.data.idx import FILES, DataError, find_idx_files

logger = logging.getLogger(__name__)

COUNTS = {"train": 50_000, "valid": 10_000, "test": 10_000}
SIDE = 28
MATLAB = (b"MATLAB", b"\x89HDF")  # what its files begin with; of version 7.3, both are in use


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
        with path.open("rb") as stream:
            start = stream.read(8)
        with warnings.catch_warnings(action="ignore"):  # an empty file is refused below
            rows = np.loadtxt(path, dtype=np.uint8, comments=None, ndmin=2, max_rows=max(count, SIDE * SIDE) + 1)
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    except ValueError:
        rows = np.empty((0, 0), np.uint8)
    if problem := _problem(rows, count, start):
        raise DataError(f"{path} {problem}; expected {count:,} lines of {SIDE * SIDE} zeros and ones, as text")
    return torch.from_numpy(rows * np.uint8(255)).reshape(count, 1, SIDE, SIDE)


def _problem(rows: np.ndarray, count: int, start: bytes) -> str:
    """Return why a file is not used, going by its numbers and its first bytes; empty if there is nothing."""
    if start.startswith(MATLAB):
        return "is a MATLAB file"
    if not start:
        return "is damaged: it is empty"
    if not rows.size:
        return "is damaged: not lines of equally many numbers"
    lines = f"{len(rows):,} lines of {rows.shape[1]:,} numbers"
    if rows.shape == (SIDE * SIDE, count):
        return f"is transposed: {lines}"
    if rows.shape != (count, SIDE * SIDE):
        return f"is damaged: {lines}"
    return "is damaged: numbers other than 0 and 1" if rows.max() > 1 else ""


def find_labels(images: dict[str, Tensor], data_dir: Path) -> dict[str, Tensor]:
    """Return the labels of the parts, each (N,), from MNIST's files; none, and say why, if they are unknown."""
    raw = data_dir / FOLDERS["mnist"] / "raw"
    reason = f"MNIST's files, which hold them, are not in {raw}"
    if len(find_idx_files(raw)) == len(FILES):
        arrays = load_idx_set("mnist", data_dir)
        train, train_labels, test, test_labels = (arrays[file] for file in FILES)
        cut = COUNTS["train"]
        grey = {"train": train[:cut], "valid": train[cut:], "test": test}
        if all(_are_drawn_from(grey[part], images[part]) for part in COUNTS):
            labels = {"train": train_labels[:cut], "valid": train_labels[cut:], "test": test_labels}
            return {part: values.long() for part, values in labels.items()}
        reason = "their order is not that of MNIST's files"
    needs = "--conditional, and classes in pictures and scores, need them"
    logger.info("Larochelle & Murray's images come without labels: %s; %s", reason, needs)
    return {}


def _are_drawn_from(grey: Tensor, binary: Tensor) -> bool:
    """Return whether each binary image can be a draw from its grey one: not white where that is black."""
    return len(binary) == len(grey) and not bool(((binary[:, 0] > 0) & (grey == 0)).any())
