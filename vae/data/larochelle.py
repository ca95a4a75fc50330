"""Larochelle & Murray's fixed binarisation of MNIST (2011), from the three .amat files in which it is passed on."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae.data.download import FOLDERS, load_idx_set
from vae.data.errors import DataError
from vae.data.idx import FILES, GZIP, find_idx_files

logger = logging.getLogger(__name__)

COUNTS = {"train": 50_000, "valid": 10_000, "test": 10_000}
SIDE = 28
MAX_BYTES = 785 * 2 * COUNTS["train"]  # of the largest file, with room for line ends of two bytes
# SHA-256 of the files, as TensorFlow Datasets records them for its `binarized_mnist`.
DIGESTS = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}
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
        DataError: the file can't be read, or is not the official one.
    """
    path = amat_path(data_dir, part)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES).replace(b"\r\n", b"\n")
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != DIGESTS[part]:
        raise DataError(f"{path} is not Larochelle & Murray's file: {_problem(content, part)}")
    text = np.frombuffer(content, np.uint8)
    bits = text[text >= ord("0")] == ord("1")  # the rest is spaces and line ends
    return torch.from_numpy(bits * np.uint8(255)).reshape(COUNTS[part], 1, SIDE, SIDE)


def _problem(content: bytes, part: str) -> str:
    """Return what is wrong with a file that is not the official one, and what to do."""
    digest = hashlib.sha256(content).hexdigest()
    if (other := next((name for name in DIGESTS if DIGESTS[name] == digest), None)) is not None:
        return f"it is binarized_mnist_{other}.amat; rename it"
    if content.startswith(GZIP):
        return "it is packed; unpack it with gunzip"
    if content.startswith(MATLAB):
        return "it is a MATLAB file; replace it by the official text file"
    lines = content.splitlines()
    size, expected = (len(lines), len(lines[0].split()) if lines else 0), (COUNTS[part], SIDE * SIDE)
    if size == expected:
        return "it is damaged, or another binarisation of MNIST; replace it by the official file"
    counts = [f"{rows:,} lines of {columns:,} numbers" for rows, columns in (size, expected)]
    return f"it has {counts[0]}, not {counts[1]}; replace it by the official file"


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
