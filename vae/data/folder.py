"""Any folder of images as a data set: train/test subfolders or one folder split by a seed; class folders are labels."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vae.data.download import DataError
from vae.system import memory
from vae.system.errors import plain

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # by content: PostScript would be run by Ghostscript
GREY_MODES, COLOUR_MODES = {"1", "L", "LA", "I;16"}, {"P", "RGB", "RGBA"}
MAX_PIXELS = 50_000_000  # of one image; more is taken for a decompression bomb
TEST_FRACTION, MIN_TEST = 0.1, 4

# Pillow's decoders check little before they count, index and unpack.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, AttributeError),
    *(struct.error, Image.DecompressionBombError),
)

Labelled = tuple[Tensor, Tensor]  # images (N, C, size, size) uint8 and labels (N,) int64


def load_folder(root: Path, *, size: int, seed: int) -> tuple[Labelled, Labelled, tuple[str, ...]]:
    """Read every image below `root`, cropped to a square about its centre and resized.

    Args:
        root: holds `train/` and `test/`, or images, or class folders of images.
        size: height and width that every image gets.
        seed: of the choice of test images, a tenth, where there is no `test/`.

    Returns:
        Training and test images with their labels, and the class names; no names, and labels 0, without class folders.

    Raises:
        DataError: one line that names the file or folder and what is wrong with it.
    """
    if not root.is_dir():
        raise DataError(f"--dataset folder: {root} is no folder; give one of images with --data_dir")
    parts = [root / "train", root / "test"]
    ready = all(part.is_dir() for part in parts)
    if not ready and any(part.is_dir() for part in (*parts, root / "val")):
        raise DataError(f"{root} has one of train/, val/ and test/ but not both train/ and test/: add what is missing")
    listed = [list_images(part) for part in (parts if ready else [root])]
    class_names = tuple(sorted({name for files in listed for _, name in files} - {""}))
    mixed = next((path for files in listed for path, name in files if class_names and not name), None)
    if mixed:
        raise DataError(f"{mixed} lies beside the class folders: move it into one, or elsewhere")
    channels = _common_channels([path for files in listed for path, _ in files])
    loaded = [load_images(files, class_names, size=size, channels=channels) for files in listed]
    if ready:
        train, test = loaded
    else:
        train, test = _split(*loaded[0], seed=seed)
    if not len(train[0]) or len(test[0]) < MIN_TEST:
        raise DataError(f"{root} holds too few images: at least {MIN_TEST} to test with, and some to train on")
    return train, test, tuple(map(plain, class_names))


def list_images(root: Path) -> list[tuple[Path, str]]:
    """Each image with its class: the name of the first folder below `root`, empty for an image right in it."""
    found, seen = [], set()

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"can't look into {error.filename}: {error.strerror}")

    for folder, inner_folders, files in os.walk(root, followlinks=True, onerror=refuse):
        here = Path(folder)
        if here.resolve() in seen:  # a link that leads back
            inner_folders.clear()
            continue
        seen.add(here.resolve())
        inner_folders[:] = sorted(name for name in inner_folders if not name.startswith("."))
        inner = here.relative_to(root).parts
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                found.append((here / name, inner[0] if inner else ""))
    if not found:
        raise DataError(f"no images ({', '.join(sorted(SUFFIXES))}) below {root}")
    return found


def open_image(path: Path, *, also: Set[str] = frozenset()) -> Image.Image:
    """An image whose header has been found sound, of a greyscale or colour mode or one of those that are named."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} can't be read as an image: it is no file")  # reading a pipe would wait for ever
    with _told(path, "can't be read as an image"):
        picture = Image.open(path, formats=FORMATS)
        fault = _fault(picture, GREY_MODES | COLOUR_MODES | also)
    if fault:
        picture.close()
        raise DataError(f"{path} {fault}")
    return picture


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Tell what Pillow raises of a damaged file in one line, and nothing of what it warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bombs are held against MAX_PIXELS below
            yield
    except PILLOW_ERRORS as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} {what}: {why}") from None


def _fault(picture: Image.Image, modes: Set[str]) -> str:
    """What keeps an image whose header is sound from being used; empty if nothing does."""
    if picture.width * picture.height > MAX_PIXELS:
        return f"has {picture.width:,}×{picture.height:,} pixels: more than {MAX_PIXELS:,}"
    if (
        getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO"
    ):  # a phone's photo with its preview: the first is it
        return "is animated: keep one of its frames"
    if picture.mode not in modes:
        return f"has colour mode {picture.mode}: convert it to greyscale or RGB"
    return ""


def _common_channels(paths: list[Path]) -> int:
    """1 if every image is greyscale, 3 if one is not."""
    for path in paths:
        with open_image(path) as picture:
            if picture.mode in COLOUR_MODES:
                return 3
    return 1


def read_upright(path: Path, *, also: Set[str] = frozenset()) -> Image.Image:
    """A picture as it was held, in memory; 16-bit grey becomes 8-bit.

    Args:
        path: the file.
        also: modes that are taken beside greyscale and colour.

    Raises:
        DataError: one line that names the file and why it can't be used.
    """
    with open_image(path, also=also) as picture, _told(path, "is damaged"):
        if picture.mode.startswith("I;16"):
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        return ImageOps.exif_transpose(picture)


def load_images(files: list[tuple[Path, str]], class_names: tuple[str, ...], *, size: int, channels: int) -> Labelled:
    """Each file of `list_images` cropped to a square about its centre and resized, with its class."""
    memory.require(len(files) * size**2 * channels, f"--image_size {size}: {len(files):,} images")
    images = np.empty((len(files), channels, size, size), dtype=np.uint8)
    for row, (path, _) in enumerate(files):
        images[row] = fitted(read_upright(path), size=size, channels=channels)
    labels = torch.tensor([class_names.index(name) if name else 0 for _, name in files])
    return torch.from_numpy(images), labels


def fitted(picture: Image.Image, *, size: int, channels: int) -> np.ndarray:
    """A picture laid on white, cropped to a square about its centre and resized: (channels, size, size) uint8."""
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    square = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (size, size))
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def _split(images: Tensor, labels: Tensor, *, seed: int) -> tuple[Labelled, Labelled]:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    count = max(MIN_TEST, round(len(images) * TEST_FRACTION))
    test, train = order[:count], order[count:]
    return (images[train], labels[train]), (images[test], labels[test])
