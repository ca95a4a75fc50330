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

from vae.errors import UsageError
from vae.image_folder import list_images, load_images, read_upright
from vae.pixels import resize, threshold, to_pixels
from vae.sources import DataError

SIDE, BOX = 28, 20  # LeCun et al. 1998: ink fitted into 20×20, its centre of mass in the middle of 28×28
SHOWN = 112  # height and width of an original in the picture
WORKING = 560  # pixels; larger pictures are made smaller first, which also evens out a photo's noise
CONTRAST = 0.1  # of the range from black to white: the least that ink stands out
INK, NOISY_INK = 0.05, 0.4  # what counts as ink on a clean background, and at most on an uneven one


class OwnImage(NamedTuple):
    """One picture before and after."""

    path: Path
    original: Tensor  # (3, SHOWN, SHOWN) in [0, 1], whole, on white
    pixels: Tensor  # (C, H, W) in [0, 1], as the model takes it
    inverted: bool  # whether its background was light


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
    picture = _opaque(read_upright(path))
    inverted = False
    if dataset == "folder":
        image, _ = load_images([(path, "")], (), size=image_shape[1], channels=image_shape[0])
    else:
        ink, inverted = _ink(picture, path)
        image = resize(_placed(ink, mass=dataset == "mnist"), image_shape[1])
    image = threshold(image) if binary else image
    square = ImageOps.pad(picture.convert("RGB"), (SHOWN, SHOWN), color="white")
    original = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    return OwnImage(path, to_pixels(original), to_pixels(image)[0], inverted)


def _opaque(picture: Image.Image) -> Image.Image:
    """Laid on white or, where what can be seen is light, on black."""
    if picture.mode not in ("LA", "RGBA") and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("RGBA")
    grey, alpha = (np.asarray(part, dtype=float) for part in (rgba.convert("L"), rgba.getchannel("A")))
    light = (grey * alpha).sum() > 127.5 * alpha.sum()
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black" if light else "white"), rgba).convert("RGB")


def _ink(picture: Image.Image, path: Path) -> tuple[np.ndarray, bool]:
    """The ink's bounding box, 0 where the background is and 1 at its strongest, and whether it was dark on light."""
    grey = picture.convert("L")
    grey.thumbnail((WORKING, WORKING))
    ink = np.asarray(grey, dtype=np.float64) / 255
    border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    light = bool(np.median(border) > 0.5)
    if light:
        ink, border = 1 - ink, 1 - border
    low = np.percentile(border, 75)  # above the paper's own unevenness
    if ink.max() - low < CONTRAST:
        raise DataError(f"{path} is blank: nothing stands out from its background")
    noise = (np.percentile(border, 99) - low) / (ink.max() - low)
    ink = np.clip((ink - low) / (ink.max() - low), 0, 1)
    rows, columns = ((ink > np.clip(3 * noise, INK, NOISY_INK)).any(axis).nonzero()[0] for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], light


def _placed(ink: np.ndarray, *, mass: bool) -> Tensor:
    """Ink (h, w) in [0, 1] scaled into a box by its longer side and put in the middle: (1, 1, SIDE, SIDE) uint8."""
    box = BOX if mass else SIDE
    scale = box / max(ink.shape)
    height, width = (max(1, round(length * scale)) for length in ink.shape)
    small = Image.fromarray((ink * 255).round().astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(small, dtype=np.float64)
    array = array * (255 / max(array.max(), 1))  # thin strokes fade when they are scaled down
    page = np.zeros((SIDE, SIDE))
    centres = [
        (array.sum(1 - axis) * (np.arange(length) + 0.5)).sum() / array.sum() if mass else length / 2
        for axis, length in enumerate(array.shape)
    ]
    top, left = (
        int(np.clip(np.ceil(SIDE / 2 - centre), 0, SIDE - length))  # as MNIST rounds: every one of its images agrees
        for centre, length in zip(centres, array.shape, strict=True)
    )
    page[top : top + height, left : left + width] = array
    return torch.from_numpy(page.round().astype(np.uint8))[None, None]
