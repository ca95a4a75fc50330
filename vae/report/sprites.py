"""Small pictures of many images on one sheet that a page can hold.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vae.data.pixels import resize
from vae.data.splits import Split

MAX_BYTES = 820_000  # of a sheet: 1.1 MB as base64
SIDES = (28, 24, 20, 16)  # pixels along a picture's side: the first at which all images fit, else the last
LEVELS = 8  # of grey: the 10,000 test images of MNIST take 742 kB, at 256 levels they take twice as much
SAMPLE = 1000  # images, evenly spaced, that tell how much room an image takes
MAX_SIDE = 16_383  # pixels of a WebP


def sheet(split: Split, max_images: int, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """As many of a split's first images as fit, row by row on a sheet: a `data:` address with its layout.

    Grey images are stored in LEVELS levels without a loss, others as WebP compresses photographs. Images larger than
    SIDES are scaled down.
    """
    total = min(max_images, len(split))
    sample = torch.linspace(0, total - 1, min(SAMPLE, total)).long()
    for side in sorted({min(side, split.image_shape[-1]) for side in SIDES}, reverse=True):
        room = len(_encode(_scaled(split, sample, side))) / len(sample)  # bytes an image
        count = min(total, int(max_bytes / room), (MAX_SIDE // side) ** 2)
        if count == total:
            break
    images = _scaled(split, torch.arange(count), side)
    content = _encode(images)
    while len(content) > max_bytes and count > 1:
        count = int(0.95 * count * max_bytes / len(content))
        content = _encode(images[:count])
    address = "data:image/webp;base64," + base64.b64encode(content).decode()
    return {"source": address, "side": side, "columns": _columns(count), "count": count}


def _scaled(split: Split, index: Tensor, side: int) -> Tensor:
    """The images at `index`, scaled to squares of `side` pixels, on the CPU."""
    return torch.cat([resize(split.gather(some), side).cpu() for some in index.split(split.chunk_size(SAMPLE))])


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _encode(images: Tensor) -> bytes:
    """A sheet of images (N, C, h, h) as WebP; what remains of its last row is black."""
    count, channels, side, _ = images.shape
    columns = _columns(count)
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, channels, side, side), np.uint8)
    tiles[:count] = images.numpy()
    pixels = tiles.reshape(rows, columns, channels, side, side).transpose(0, 3, 1, 4, 2)
    pixels = pixels.reshape(rows * side, columns * side, channels)
    stream = io.BytesIO()
    if channels == 1:
        levels = np.round(np.round(pixels[..., 0] * ((LEVELS - 1) / 255)) * (255 / (LEVELS - 1)))
        Image.fromarray(levels.astype(np.uint8)).save(stream, "WEBP", lossless=True, quality=60, method=2)
    else:
        Image.fromarray(pixels).save(stream, "WEBP", quality=40, method=2)
    return stream.getvalue()
