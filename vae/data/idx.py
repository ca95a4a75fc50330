"""The four IDX files of MNIST, its sister sets and people's own: how they are read, and the official ones known."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vae.data.errors import DamagedError, DataError
from vae.system import memory

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDE = 28  # height and width of every image
MAX_BYTES = 16 + 60_000 * SIDE * SIDE  # the largest of the official files; no more is downloaded or unpacked of them
ANY_SIZE = "save them as PNG files, which --dataset folder --image_size takes at any size"
GZIP = b"\x1f\x8b"  # what a packed file begins with; what its name says doesn't count, since browsers unpack downloads

# Digests of the unpacked files, which hold however they are packed: SHA-256, and MD5 of KMNIST, whose files were never
# published unpacked; git-annex keys of what torchvision unpacks record them.
DIGESTS = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    "kmnist": {
        "train-images-idx3-ubyte": "92be26ec9822e900ac425d0a0aa84ced",
        "train-labels-idx1-ubyte": "949e75301f8813e0dc5800dcc320fc52",
        "t10k-images-idx3-ubyte": "bf305b8cd328700fbc17f5acbc2856d2",
        "t10k-labels-idx1-ubyte": "9f55f451c0988b028eccdf7d5cc265ab",
    },
}


def find_idx_files(raw: Path) -> dict[str, Path]:
    """Return the paths of those of the four files that exist, plain or `.gz`; of both, the plain one."""
    paths = {}
    try:
        for file in FILES:
            for path in (raw / f"{file}.gz", raw / file):  # the last that exists is taken
                if path.exists():
                    paths[file] = path
    except OSError as error:
        raise DataError(f"can't look into {raw}: {error.strerror or error}") from None
    return paths


def read_idx_set(paths: Mapping[str, Path], name: str = "") -> dict[str, Tensor]:
    """Read the four files, as `decode_set` does."""
    return decode_set({file: (path, _read(path)) for file, path in paths.items()}, name)


def decode_set(contents: Mapping[str, tuple[Path, bytes]], name: str = "") -> dict[str, Tensor]:
    """Verify the four files; file name to uint8 tensor: images (N, 28, 28), labels (N,).

    Args:
        contents: file name to where it is from and what it holds, plain or packed.
        name: the data set whose official files they must be; someone's own if it is empty.

    Raises:
        DamagedError: one line with the file's name and what is wrong with it.
        DataError: the four don't belong together.
    """
    arrays = {file: decode(path, content, name) for file, (path, content) in contents.items()}
    for images, labels in (FILES[:2], FILES[2:]):
        if len(arrays[images]) != len(arrays[labels]):
            counts = f"{len(arrays[images])} images in {images}, {len(arrays[labels])} labels in {labels}"
            raise DataError(f"{contents[images][0].parent}: the files don't belong together: {counts}")
    return arrays


def _read(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"can't read {path}: it is not a regular file")
    try:
        memory.require(2 * path.stat().st_size, str(path))  # it is copied once
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None


def decode(path: Path, content: bytes, name: str = "") -> Tensor:
    """Unpack and verify one of the four files, going by the name of `path`: uint8, (N, 28, 28) or (N,)."""
    if name:
        content = unpack(path, content)
        _verify(path, content, name)
    else:
        header, shape = _parse_header(path, unpack(path, content, limit=16))
        content = unpack(path, content, limit=header + math.prod(shape))
    header, shape = _parse_header(path, content)
    if not shape[0] or len(content) != header + math.prod(shape):
        raise DamagedError(f"{path} is damaged: {len(content) - header:,} bytes of data where its header says {shape}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).reshape(shape)


def unpack(path: Path, content: bytes, *, limit: int = MAX_BYTES) -> bytes:
    """Return what a gzip file holds, up to `limit` bytes and one more; anything else as it is."""
    if not content.startswith(GZIP):
        return content
    memory.require(2 * limit, f"{path}, unpacked,")
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedError(f"{path} is damaged: not a complete gzip file ({error})") from None
    if unpacked.startswith(GZIP):
        raise DataError(f"{path} is packed twice: unpack it with gunzip")
    return unpacked


def _verify(path: Path, content: bytes, name: str) -> None:
    """Compare a file's content with the official file's; if it is another official one's, say so."""
    file = path.name.removesuffix(".gz")
    if DIGESTS[name][file] == _digest(content, DIGESTS[name][file]):
        return
    for other, digests in DIGESTS.items():
        for known, digest in digests.items():
            if digest == _digest(content, digest):
                raise DamagedError(f"{path} is not the official file: it is {known} of {other}")
    raise DamagedError(f"{path} is damaged: its content is not the official file's")


def _digest(content: bytes, like: str) -> str:
    """Hash bytes with the algorithm of a digest in hexadecimal."""
    return hashlib.new({64: "sha256", 32: "md5"}[len(like)], content, usedforsecurity=False).hexdigest()


def _parse_header(path: Path, content: bytes) -> tuple[int, list[int]]:
    """Return how long an IDX file's header is (0x0800 and the number of dimensions, the sizes) and the data's shape."""
    dims = 1 if "labels" in path.name else 3
    header = 4 + 4 * dims
    magic, *shape = struct.unpack(f">{1 + dims}I", content[:header].ljust(header, b"\0"))
    if magic != 0x0800 + dims:
        raise DamagedError(f"{path} is damaged: magic number {magic} instead of {0x0800 + dims}")
    if shape[1:] != [SIDE, SIDE][: dims - 1]:
        raise DataError(f"{path} holds images of {shape[1]}×{shape[2]} pixels, not of {SIDE}×{SIDE}: {ANY_SIZE}")
    return header, shape
