"""The four IDX files of MNIST and of its sister sets: how each is read, and how it is known to be the official one."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from vae.system.errors import UserError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDE = 28  # height and width of every image
MAX_BYTES = 16 + 60_000 * SIDE * SIDE  # the largest of the files; no more than this is read into memory

# SHA-256 of the unpacked files.
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
}
# MD5 of the .gz files, from torchvision's tables: no digests of these sets' unpacked files are published, so a .gz is
# preferred where both are there, and an unpacked file on its own is checked for its header, size and labels.
MD5_GZ = {
    "fashion_mnist": {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    "kmnist": {
        "train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134",
    },
}


class DataError(UserError):
    """A damaged data file, or a data set that is not available."""


class DamagedError(DataError):
    """A file whose content is not what it should be."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged: {reason}")


def find_idx_files(name: str, raw: Path) -> dict[str, Path]:
    """Return the paths of those of the four files that exist, plain or `.gz`; of both, the one with a digest."""
    paths = {}
    try:
        for file in FILES:
            for suffix in (".gz", "") if name in SHA256 else ("", ".gz"):  # the last that exists is taken
                if (raw / (file + suffix)).exists():
                    paths[file] = raw / (file + suffix)
    except OSError as error:
        raise DataError(f"can't look into {raw}: {error.strerror or error}") from None
    return paths


def read_idx_set(name: str, paths: dict[str, Path]) -> dict[str, Tensor]:
    """Read and verify the four files; file name to uint8 tensor: images (N, 28, 28), labels (N,).

    Raises:
        DamagedError: one line with the file's name and what is wrong with it.
        DataError: a file can't be read, or the four don't belong together.
    """
    arrays = {file: read_idx(name, path) for file, path in paths.items()}
    for images, labels in (FILES[:2], FILES[2:]):
        if len(arrays[images]) != len(arrays[labels]):
            counts = f"{len(arrays[images])} images in {images}, {len(arrays[labels])} labels in {labels}"
            raise DataError(f"{paths[images].parent}: the files don't belong together: {counts}")
    return arrays


def read_idx(name: str, path: Path) -> Tensor:
    """Read and verify one IDX file of the data set `name`, plain or `.gz`: uint8, (N, 28, 28) or (N,)."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"can't read {path}: it is not a regular file")
    try:
        with path.open("rb") as stream:
            packed = stream.read(MAX_BYTES + 1)
        content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(MAX_BYTES + 1) if path.suffix == ".gz" else packed
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedError(path, f"not a complete gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    file = path.name.removesuffix(".gz")
    digest = SHA256.get(name, {}).get(file)
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise DamagedError(path, "its SHA-256 is not the official file's")
    digest = MD5_GZ.get(name, {}).get(file) if path.suffix == ".gz" else None
    if digest and hashlib.md5(packed, usedforsecurity=False).hexdigest() != digest:
        raise DamagedError(path, "its MD5 is not the official file's")
    return _parse_idx(path, content)


def _parse_idx(path: Path, content: bytes) -> Tensor:
    """Parse an IDX file: a magic number (0x0800 and the number of dimensions), the sizes, then unsigned bytes."""
    dims = 1 if "labels" in path.name else 3
    header = 4 + 4 * dims
    magic, *shape = struct.unpack(f">{1 + dims}I", content[:header].ljust(header, b"\0"))
    if magic != 0x0800 + dims:
        raise DamagedError(path, f"magic number {magic} instead of {0x0800 + dims}")
    if not shape[0] or len(content) != header + math.prod(shape) or shape[1:] != [SIDE, SIDE][: dims - 1]:
        raise DamagedError(path, f"{len(content) - header:,} bytes of data where its header says {shape}")
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).reshape(shape)
    if dims == 1 and int(values.max()) > 9:
        raise DamagedError(path, f"label {int(values.max())} is out of range")
    return values
