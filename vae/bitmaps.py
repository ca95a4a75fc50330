"""Bare image files, pixel by pixel: PNG and animated GIF, with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from vae.files import write_atomic


def to_picture(image: Tensor) -> Image.Image:
    """An image (C, H, W) in [0, 1] with C 1 or 3, as Pillow has it."""
    array = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))


def write_png(path: Path, image: Tensor) -> None:
    """Write an image (C, H, W) in [0, 1], one pixel a pixel."""
    write_atomic(path, lambda stream: to_picture(image).save(stream, format="png"))
