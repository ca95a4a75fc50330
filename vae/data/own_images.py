"""People's own pictures and arrays, turned into images like those that the model was trained on.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vae.config.fields import OWN
from vae.data.decode import fit_square, read_upright
from vae.data.errors import DataError
from vae.data.folder import list_images
from vae.data.ink import find_ink, place
from vae.data.pixels import resize, threshold, to_pixels
from vae.system.errors import UsageError

ORIGINAL_SIZE = 112  # height and width of `OwnImage.original`
SINGLE = ("mnist", "digits")  # data sets with one shape an image; in others, parts may lie apart
SOLID = ("fashion_mnist",)  # data sets of things, in others there are strokes

logger = logging.getLogger(__name__)


class OwnImage(NamedTuple):
    """A picture before and after its preparation."""

    path: Path  # `image` if it came without a file
    original: Tensor  # (3, ORIGINAL_SIZE, ORIGINAL_SIZE) in [0, 1], the whole picture, padded with white
    pixels: Tensor  # (C, H, W) in [0, 1], the model's input
    inverted: bool  # whether its background is light
    notes: tuple[str, ...] = ()  # remarks for the person, such as that a frame was ignored


def find(names: Sequence[str]) -> list[Path]:
    """Return the named image files, and those below the named folders.

    Raises:
        UsageError: no such file or folder.
        DataError: a folder without images.
    """
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UsageError(f"{name}: no such image file or folder")
        paths += [image for image, _ in list_images(path)] if path.is_dir() else [path]
    return paths


def prepare_all(
    pictures: Sequence[str | Path | Image.Image],
    *,
    dataset: str,
    image_shape: tuple[int, int, int],
    binary: bool = False,
) -> list[OwnImage | None]:
    """Prepare pictures, and those in folders, as `prepare` does; `None` stands for an unusable one.

    Raises:
        UsageError: no such file or folder.
        DataError: a picture that is unusable and not just one of a folder's, or a folder without usable pictures.
    """
    prepared: list[OwnImage | None] = []
    for picture in pictures:
        for file in [picture] if isinstance(picture, Image.Image) else find([str(picture)]):
            try:
                prepared.append(prepare(file, dataset=dataset, image_shape=image_shape, binary=binary))
            except DataError as error:
                if isinstance(picture, Image.Image) or file == Path(picture):
                    raise
                logger.info("left out: %s", error)
                prepared.append(None)
    if not any(prepared):
        raise DataError(f"none of the {len(prepared):,} images in {', '.join(map(str, pictures))} can be used")
    return prepared


def prepare(
    picture: Path | Image.Image, *, dataset: str, image_shape: tuple[int, int, int], binary: bool = False
) -> OwnImage:
    """Turn a picture into an image like the data set's.

    Args:
        picture: any, of which a file's EXIF rotation is applied.
        dataset: for people's own, the picture is cropped and scaled. For all others, ink is looked for on a plain
            background and made light on black: for `mnist` centred by mass with a margin, else filling the image.
        image_shape: (C, H, W) of the model.
        binary: round pixels to 0 and 1, for models of binary images.

    Raises:
        DataError: the picture is unreadable, animated, huge or blank; the message names the file.
    """
    path = picture if isinstance(picture, Path) else Path(getattr(picture, "filename", "") or "image")
    picture = _opaque(read_upright(picture) if isinstance(picture, Path) else picture)
    inverted, notes = False, []
    if dataset in OWN:
        image = torch.tensor(fit_square(picture, size=image_shape[1], channels=image_shape[0]))[None]
    else:
        ink = find_ink(picture, solid=dataset in SOLID)
        if ink is None:
            raise DataError(f"{path} is blank: nothing stands out from its background")
        inverted = ink.light
        if ink.edged:
            notes.append("what lies at the picture's edge is ignored")
        if ink.separate and dataset in SINGLE:
            notes.append("several separate shapes, where one digit is expected")
        image = resize(place(ink.strength, mass=dataset == "mnist"), image_shape[1])
    image = threshold(image) if binary else image
    square = ImageOps.pad(picture.convert("RGB"), (ORIGINAL_SIZE, ORIGINAL_SIZE), color="white")
    original = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    return OwnImage(path, to_pixels(original), to_pixels(image)[0], inverted, tuple(notes))


def pixels_of(images: Tensor | np.ndarray, image_shape: tuple[int, int, int]) -> Tensor:
    """Images in an array as pixels (N, C, H, W) in [0, 1].

    Args:
        images: uint8, or floats in [0, 1]; (N, C, H, W), (N, H, W, C) or, if C is 1, (N, H, W); or one without N.
        image_shape: (C, H, W) of the model.
    """
    x = torch.as_tensor(images)
    channels, height, width = image_shape
    if x.shape[-3:] != image_shape:
        if x.shape[-3:] == (height, width, channels):
            x = x.movedim(-1, -3)
        elif channels == 1:
            x = x.unsqueeze(-3)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1:] != image_shape or not len(x):
        sizes = " or ".join(str(("N", *shape)).replace("'", "") for shape in (image_shape, (height, width, channels)))
        raise UsageError(f"an array of shape {tuple(images.shape)}: this model's images are {sizes}")
    x = to_pixels(x) if x.dtype == torch.uint8 else x
    if not x.is_floating_point() or not ((x >= 0) & (x <= 1)).all():
        raise UsageError("pixels must be uint8, or floats in [0, 1]")
    return x.float()


def _opaque(picture: Image.Image) -> Image.Image:
    """Put a transparent picture on white or, if its visible parts are light, on black."""
    if picture.mode not in ("LA", "RGBA") and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("RGBA")
    grey, alpha = (np.asarray(part, dtype=float) for part in (rgba.convert("L"), rgba.getchannel("A")))
    light = (grey * alpha).sum() > 127.5 * alpha.sum()
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black" if light else "white"), rgba).convert("RGB")
