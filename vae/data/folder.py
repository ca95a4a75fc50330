"""Any folder of images as a data set: train/ and test/ subfolders or a single folder; class folders become labels."""

from __future__ import annotations

import logging
import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vae.data.idx import DataError
from vae.system import memory
from vae.system.errors import plain

logger = logging.getLogger(__name__)

SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
OTHER_SUFFIXES = {
    ".avif",
    ".dng",
    ".heic",
    ".heif",
    ".jp2",
    ".jxl",
    ".psd",
    ".svg",
    ".tga",
}  # pictures that aren't read
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # by content: Pillow hands PostScript to Ghostscript
GREY_MODES, COLOUR_MODES = {"1", "L", "LA", "I;16", "I;16B"}, {"P", "RGB", "RGBA", "CMYK"}
MANY = 20_000  # images that are read without a word
NAMED = 10  # unusable images in a message
MAX_PIXELS = 50_000_000  # of one image; a larger one is taken for a decompression bomb

# Pillow's decoders count, index and unpack what a damaged file says, mostly unchecked.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, AttributeError),
    *(struct.error, Image.DecompressionBombError),
)

Labelled = tuple[Tensor, Tensor]  # images (N, C, size, size) uint8 and labels (N,) int64


def load_folder(root: Path, *, size: int) -> tuple[list[Labelled], tuple[str, ...]]:
    """Read every image below `root`, cropped to a square about its centre and resized.

    Args:
        root: contains `train/` and `test/`, or images, or class folders of images.
        size: height and width of the images that are returned.

    Returns:
        Training and test images, or all of them where there is no `test/`; and the class names. Without class folders
        there are no names and all labels are 0.

    Raises:
        DataError: one line with the name of the file or folder and what is wrong with it.
    """
    if not root.is_dir():
        raise DataError(f"--dataset folder: {root} is not a folder; name a folder of images with --data_dir")
    parts = [root / "train", root / "test"]
    has_test = all(part.is_dir() for part in parts)
    if not has_test and any(part.is_dir() for part in (*parts, root / "val")):
        raise DataError(f"{root} has one of train/, val/ and test/ but not both train/ and test/: add what is missing")
    file_lists = [list_images(part) for part in (parts if has_test else [root])]
    files = [file for file_list in file_lists for file in file_list]
    class_names = tuple(sorted({name for _, name in files} - {""}))
    for path, name in files:
        if class_names and not name:
            raise DataError(f"{path} lies beside the class folders: move it into one of them, or elsewhere")
    if len(files) > MANY:
        logger.info("reading %s images below %s ...", f"{len(files):,}", root)
    channels, bits = _common_format([path for path, _ in files])
    images, labels = load_images(files, class_names, root=root, size=size, channels=channels, bits=bits)
    counts = list(map(len, file_lists))
    return list(zip(images.split(counts), labels.split(counts), strict=True)), tuple(map(plain, class_names))


def list_images(root: Path) -> list[tuple[Path, str]]:
    """List the images below `root`, each with its class: the first folder's name, empty for an image directly in it."""
    images, left_out, visited = [], [], set()

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"can't look into {error.filename}: {error.strerror}")

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        here = Path(folder)
        if here.resolve() in visited:  # a link that leads back
            subfolders.clear()
            continue
        visited.add(here.resolve())
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        class_name = next(iter(here.relative_to(root).parts), "")
        images += [
            (here / name, class_name)
            for name in sorted(files)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
        left_out += [suffix for name in files if (suffix := Path(name).suffix.lower()) in OTHER_SUFFIXES]
    if left_out:
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(Counter(left_out).items()))
        logger.info("left out: %s below %s: convert them to JPEG or PNG", counts, root)
    if not images:
        raise DataError(f"no images ({', '.join(sorted(SUFFIXES))}) below {root}")
    return images


def open_image(path: Path) -> Image.Image:
    """Open an image and check its header; its pixels are not read yet."""
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise DataError(f"{path} can't be read as an image: it is not a regular file")
    with _pillow_errors(path, "can't be read as an image"):
        picture = Image.open(path, formats=FORMATS)
        problem = _problem(picture)
    if problem:
        picture.close()
        raise DataError(f"{path} {problem}")
    return picture


@contextmanager
def _pillow_errors(path: Path, what: str) -> Iterator[None]:
    """Turn what Pillow raises for a damaged file into one line, and silence its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of decompression bombs, which `MAX_PIXELS` refuses
            yield
    except PILLOW_ERRORS as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} {what}: {reason}; delete or replace it") from None


def _problem(picture: Image.Image) -> str:
    """Return why an image can't be used, going by its header; empty if it can."""
    if picture.width * picture.height > MAX_PIXELS:
        return f"has {picture.width:,}×{picture.height:,} pixels: more than {MAX_PIXELS:,}"
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # MPO: a phone's photo followed by its preview
        return "is animated: keep one of its frames"
    if picture.mode not in GREY_MODES | COLOUR_MODES:
        return f"has colour mode {picture.mode}: convert it to greyscale of 8 or 16 bits, or to RGB"
    return ""


def _common_format(paths: list[Path]) -> tuple[int, int]:
    """Return 1 channel if every image is greyscale, otherwise 3; and the bits of greys of 16, 0 if they may differ."""
    bits = 0
    for path in paths:
        with suppress(DataError), open_image(path) as picture, _pillow_errors(path, "is damaged"):
            if picture.mode in COLOUR_MODES:
                return 3, 0
            if picture.mode.startswith("I;16"):
                bits = max(bits, _bits(np.asarray(picture)))
    return 1, bits


def _bits(deep: np.ndarray) -> int:
    """Return how many bits greys of up to 16 use: an even number, as those of cameras and scanners; 8 or more.

    The largest of 16 bits doesn't count: it also marks hot and overexposed pixels among greys of fewer bits.
    """
    return max(8, int(deep.max(where=deep < 65535, initial=0)).bit_length() + 1 & ~1)


def read_upright(path: Path, *, bits: int = 0) -> Image.Image:
    """Read a picture into memory and apply its EXIF rotation; 16-bit grey becomes 8-bit, CMYK becomes RGB.

    Args:
        path: of the picture.
        bits: of 16-bit greys that are in use; the picture's own if they are more.

    Raises:
        DataError: one line with the file's name and why it can't be used.
    """
    with open_image(path) as picture, _pillow_errors(path, "is damaged"):
        if picture.mode.startswith("I;16"):
            deep = np.asarray(picture)
            picture = Image.fromarray((deep >> max(bits, _bits(deep)) - 8).clip(max=255).astype(np.uint8))
        upright = ImageOps.exif_transpose(picture)
        return upright.convert("RGB") if upright.mode == "CMYK" else upright


def load_images(
    files: list[tuple[Path, str]], class_names: tuple[str, ...], *, root: Path, size: int, channels: int, bits: int = 0
) -> Labelled:
    """Read each file of `list_images`, cropped to a square about its centre and resized, with its label."""
    memory.require(len(files) * size**2 * channels, f"--image_size {size}: {len(files):,} images")
    images = np.empty((len(files), channels, size, size), dtype=np.uint8)
    unusable: dict[Path, DataError] = {}
    for row, (path, _) in enumerate(files):
        if row and row % MANY == 0:
            logger.info("%s of %s images read ...", f"{row:,}", f"{len(files):,}")
        try:
            images[row] = fit_square(read_upright(path, bits=bits), size=size, channels=channels)
        except DataError as error:
            unusable[path] = error
    if unusable:
        raise _unusable_error(unusable, len(files), root)
    labels = torch.tensor([class_names.index(name) if name else 0 for _, name in files])
    return torch.from_numpy(images), labels


def _unusable_error(unusable: dict[Path, DataError], count: int, root: Path) -> DataError:
    """Return one line about all images that can't be used: their number, the first ten names and the first reason."""
    error = next(iter(unusable.values()))
    if len(unusable) == 1:
        return error
    names = ", ".join(str(path.relative_to(root)) for path in [*unusable][:NAMED])
    more = ", …" if len(unusable) > NAMED else ""
    which = f"{len(unusable):,} of {count:,} images below {root}"
    return DataError(f"{which} can't be used; delete or replace them: {names}{more}; {error}")


def fit_square(picture: Image.Image, *, size: int, channels: int) -> np.ndarray:
    """Put a picture on white, crop it to a square about its centre and resize it: (channels, size, size) uint8."""
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    square = ImageOps.fit(picture.convert("L" if channels == 1 else "RGB"), (size, size))
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)
