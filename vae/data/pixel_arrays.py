"""People's own arrays of pixels, as the uint8 images that everything here works with.

Shapes: N images, C channels, H height, W width, S side of the images that are returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from vae.data.cache import Create
from vae.data.errors import DataError
from vae.data.pixels import crop_square, resize
from vae.data.splits import CHUNK_PIXELS
from vae.system.console import progress
from vae.system.stopping import raise_if_stopped

CHANNELS, LEAST_SIDE = (1, 3), 4  # of an image; the least is above the channels, so that their place is never in doubt
PEEKED = 1000  # images whose values are looked at before all others
ROUNDING = 1e-4  # what resizing and averaging may add to floats in [0, 1]
ACCEPTED = "expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, or flat squares (N, H·H)"


def as_images(array: np.ndarray, what: object) -> np.ndarray:
    """A view (N, C, H, W) of an array in any accepted shape; `what` names it in messages.

    Raises:
        DataError: one line with what is wrong with dtype or shape, and what to do.
    """
    shape = array.shape
    if array.dtype.kind not in "buif":
        raise DataError(f"{what} holds values of type {array.dtype}: images are uint8, bool, or floats in [0, 1]")
    if array.ndim == 2 and math.isqrt(shape[1]) ** 2 == shape[1]:
        array = array.reshape(len(array), 1, math.isqrt(shape[1]), -1)
    elif array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in CHANNELS or min(array.shape[2:]) < LEAST_SIDE:
        hint = ": drop the fourth channel, x[..., :3]" if len(shape) == 4 and 4 in (shape[1], shape[3]) else ""
        hint = ": give images their sides, x.reshape(-1, H, W, C)" if len(shape) == 2 else hint
        raise DataError(f"{what} has the shape {shape}{hint}: {ACCEPTED}, each side {LEAST_SIDE} pixels or more")
    if not len(array):
        raise DataError(f"{what} holds no images")
    return array


def is_ready(images: np.ndarray, side: int) -> bool:
    """Whether images (N, C, H, W) can be used as they are."""
    is_plain = images.dtype == np.uint8 and images.flags.c_contiguous
    return is_plain and images.shape[2:] == (side, side) and not _is_mask(images)


def _is_mask(images: np.ndarray) -> bool:
    """Whether whole numbers are 0 and 1, which stand for black and white."""
    return images.dtype.kind in "iu" and images[:PEEKED].max() == 1


def convert(images: np.ndarray, side: int, create: Create, what: object) -> np.ndarray:
    """Images (N, C, H, W) of any type, as uint8 cropped to a square about their centre and scaled: (N, C, S, S).

    Raises:
        DataError: a value isn't what the type of the array promises.
    """
    count, channels, height, width = images.shape
    to_bytes = _whites(what) if _is_mask(images) else _CONVERTERS[images.dtype.kind](what)
    converted = create((count, channels, side, side))
    chunk = max(1, CHUNK_PIXELS // (channels * height * width))
    with progress(count, unit="images", title="converting:") as advance:
        for start in range(0, count, chunk):
            some = torch.from_numpy(np.ascontiguousarray(to_bytes(images[start : start + chunk])))
            converted[start : start + chunk] = resize(crop_square(some), side).numpy()
            advance(len(some))
            raise_if_stopped()
    return converted


Converter = Callable[[np.ndarray], np.ndarray]


def _from_floats(what: object) -> Converter:
    def convert(values: np.ndarray) -> np.ndarray:
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(low) or not math.isfinite(high):
            raise DataError(f"{what} holds NaN or infinite numbers: floats are pixels in [0, 1]")
        if low < -ROUNDING or high > 1 + ROUNDING:
            remedy = "save x.astype(np.uint8)" if low >= 0 and high <= 255 else "scale them, (x - x.min()) / np.ptp(x)"
            raise DataError(f"{what} holds floats from {low:.4g} to {high:.4g}, not in [0, 1]: {remedy}")
        levels: np.ndarray = np.rint(values.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
        return levels

    return convert


def _from_integers(what: object) -> Converter:
    def convert(values: np.ndarray) -> np.ndarray:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 255:
            raise DataError(f"{what} holds whole numbers from {low:,} to {high:,}: scale them to 0 … 255")
        return values.astype(np.uint8)

    return convert


def _whites(what: object) -> Converter:
    def convert(values: np.ndarray) -> np.ndarray:
        if values.max() > 1 or values.min() < 0:
            raise DataError(f"{what} begins with images of 0 and 1, and others follow: save black as 0, white as 255")
        return values.astype(np.uint8) * np.uint8(255)

    return convert


_CONVERTERS: dict[str, Callable[[object], Converter]] = {
    "b": _whites,
    "f": _from_floats,
    "i": _from_integers,
    "u": _from_integers,
}
