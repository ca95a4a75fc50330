"""People's own pictures, made into what the model was trained on: grey, light ink on black, centred as MNIST does.

Shapes: C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vae.data.download import DataError
from vae.data.folder import fitted, list_images, read_upright
from vae.data.ink import find_ink, place
from vae.data.pixels import resize, threshold, to_pixels
from vae.system.errors import UsageError

SHOWN = 112  # height and width of an original in the picture
SINGLE = ("mnist", "digits")  # data sets with one shape an image; in others, parts may lie apart
SCALED = {"F", "I"}  # modes without a fixed range of brightness
CONVERTED = {"CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA", "I;16B", "I;16L", *SCALED}


class OwnImage(NamedTuple):
    """One picture before and after."""

    path: Path
    original: Tensor  # (3, SHOWN, SHOWN) in [0, 1], whole, on white
    pixels: Tensor  # (C, H, W) in [0, 1], as the model takes it
    inverted: bool  # whether its background was light
    notes: tuple[str, ...] = ()  # what else was done to it, or is odd about it


def find(names: Sequence[str]) -> list[Path]:
    """The image files that are named, and those below the folders that are.

    Raises:
        UsageError: no such file or folder.
        DataError: a folder without images.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UsageError(f"--images {name}: no such file or folder")
        found += [inner for inner, _ in list_images(path)] if path.is_dir() else [path]
    return found


def prepare(path: Path, *, dataset: str, image_shape: tuple[int, int, int], binary: bool = False) -> OwnImage:
    """Read a picture as the data set's images were made.

    Args:
        path: any picture; its EXIF rotation is followed.
        dataset: `folder` crops and scales as that data set does; all others look for ink on a plain background, which
            `mnist` centres by its mass in a margin and the others let fill the image.
        image_shape: (C, H, W) of the model.
        binary: cut at a half, for models of binary images.

    Raises:
        DataError: unreadable, animated, huge or blank; the message names the file.
    """
    picture, notes = _in_8_bits(read_upright(path, also=CONVERTED))
    picture = _opaque(picture)
    inverted = False
    if dataset == "folder":
        image = torch.tensor(fitted(picture, size=image_shape[1], channels=image_shape[0]))[None]
    else:
        ink = find_ink(picture)
        if ink is None:
            raise DataError(f"{path} is blank: nothing stands out from its background")
        inverted = ink.light
        notes += ["the frame around it is left out"] * ink.framed
        notes += ["several separate shapes, where one digit is expected"] * (ink.separate and dataset in SINGLE)
        image = resize(place(ink.strength, mass=dataset == "mnist"), image_shape[1])
    image = threshold(image) if binary else image
    square = ImageOps.pad(picture.convert("RGB"), (SHOWN, SHOWN), color="white")
    original = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    return OwnImage(path, to_pixels(original), to_pixels(image)[0], inverted, tuple(notes))


def _in_8_bits(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    """In a mode of 8-bit brightness or colours, and what was done for it that a person should know."""
    if picture.mode in SCALED:
        array = np.asarray(picture, dtype=np.float64)
        known = np.isfinite(array)
        low, high = (array[known].min(), array[known].max()) if known.any() else (0.0, 0.0)
        share = (np.where(known, array, low) - low) / (high - low or 1.0)
        scaled = Image.fromarray((share * 255).round().astype(np.uint8))
        return scaled, [f"its range, {low:g} to {high:g}, is taken for black to white"]
    if picture.mode in CONVERTED:
        return picture.convert("RGBA" if picture.mode in ("PA", "RGBa") else "RGB"), []
    return picture, []


def _opaque(picture: Image.Image) -> Image.Image:
    """Laid on white or, where what can be seen is light, on black."""
    if picture.mode not in ("LA", "RGBA") and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("RGBA")
    grey, alpha = (np.asarray(part, dtype=float) for part in (rgba.convert("L"), rgba.getchannel("A")))
    light = (grey * alpha).sum() > 127.5 * alpha.sum()
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black" if light else "white"), rgba).convert("RGB")
