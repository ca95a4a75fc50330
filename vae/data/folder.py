"""Any folder of images as a data set: train/ and test/ subfolders or a single folder; class folders become labels.

Shapes: N images, C channels, S pixels along a side.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch

from vae.data import cache
from vae.data.cache import Create
from vae.data.decode import COLOUR_MODES, Decoded, open_image
from vae.data.errors import DataError
from vae.data.splits import Split
from vae.data.workers import ALONE, decode_all
from vae.system.console import progress
from vae.system.errors import plain

logger = logging.getLogger(__name__)

SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
OTHER_SUFFIXES = {".avif", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg", ".tga"}  # of what isn't read
NAMED = 10  # unusable images in a message
PROBED = 16  # images whose headers are looked at first: colour among them is known before the rest is decoded
DECODER = 1  # raised when the same files would be decoded to other pixels: what is in the cache no longer counts


class ImageFile(NamedTuple):
    """A picture of the data set."""

    path: Path
    class_name: str  # of the first folder; empty for an image directly in the root


def load_folder(root: Path, *, size: int) -> tuple[list[Split], tuple[str, ...]]:
    """Map every image below `root`, cropped to a square about its centre and resized; decode them if need be.

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
    class_names = tuple(sorted({file.class_name for file in files} - {""}))
    for path, name in files:
        if class_names and not name:
            raise DataError(f"{path} lies beside the class folders: move it into one of them, or elsewhere")
    images = cache.as_tensor(load_images([path for path, _ in files], root=root, size=size))
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = torch.tensor([numbers.get(name, 0) for _, name in files])
    counts = list(map(len, file_lists))
    pairs = zip(images.split(counts), labels.split(counts), strict=True)
    return [Split(*pair, is_mapped=True) for pair in pairs], tuple(map(plain, class_names))


def list_images(root: Path) -> list[ImageFile]:
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
            ImageFile(here / name, class_name)
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


def load_images(paths: list[Path], *, root: Path, size: int) -> np.ndarray:
    """The images (N, C, size, size) uint8 in files below `root`, from the cache or decoded; grey if all of them are."""
    state = [f"decoder {DECODER}"]
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # a link to nowhere, which decoding names
            state.append(f"{path.relative_to(root)}\0")
        else:
            state.append(f"{path.relative_to(root)}\0{status.st_size} {status.st_mtime_ns}")
    return cache.load_or_build(f"{root.resolve()} at {size}", "\n".join(state), partial(_decode, paths, root, size))


def _decode(paths: list[Path], root: Path, size: int, create: Create) -> np.ndarray:
    """Decode all images into an array that `create` makes: of 1 channel if every image is greyscale, otherwise of 3."""
    if len(paths) >= ALONE:
        logger.info("decoding %s images below %s ...", f"{len(paths):,}", root)
    probed = paths[:: -(-len(paths) // PROBED)]
    channels = 3 if any(map(_is_colour, probed)) else 1
    try:
        return _decode_as(paths, root, create((len(paths), channels, size, size)))
    except _ColourError:
        return _decode_as(paths, root, create((len(paths), 3, size, size)))


class _ColourError(Exception):
    """An image in colour, after others in grey."""


def _decode_as(paths: list[Path], root: Path, images: np.ndarray) -> np.ndarray:
    is_grey = images.shape[1] == 1
    with progress(len(paths), unit="images", title="decoding:") as advance:

        def on_block(results: list[Decoded]) -> None:
            if is_grey and any(result.is_colour for result in results):
                raise _ColourError
            advance(len(results))

        results = decode_all(paths, images, on_block=on_block)
    if unusable := {path: result.problem for path, result in zip(paths, results, strict=True) if result.problem}:
        raise _unusable_error(unusable, len(paths), root)
    bits = max(result.bits for result in results) if is_grey else 0
    for row, result in enumerate(results):
        if 0 < result.bits < bits:  # a dark one: it stays darker than the others
            decode_all(paths[row : row + 1], images[row : row + 1], bits=bits, on_block=lambda results: None)
    return images


def _is_colour(path: Path) -> bool:
    """Whether an image's header says so; not if it can't be read, which decoding it names."""
    try:
        with open_image(path) as picture:
            return picture.mode in COLOUR_MODES
    except DataError:
        return False


def _unusable_error(unusable: dict[Path, str], count: int, root: Path) -> DataError:
    """Return one line about all images that can't be used: their number, the first ten names and the first reason."""
    problem = next(iter(unusable.values()))
    if len(unusable) == 1:
        return DataError(problem)
    names = ", ".join(str(path.relative_to(root)) for path in [*unusable][:NAMED])
    more = ", …" if len(unusable) > NAMED else ""
    which = f"{len(unusable):,} of {count:,} images below {root}"
    return DataError(f"{which} can't be used; delete or replace them: {names}{more}; {problem}")
