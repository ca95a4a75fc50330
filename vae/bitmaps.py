"""Bare image files, pixel by pixel: PNG and animated GIF, with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from vae.files import write_atomic

COLOURS = 128  # of an animation
NEAR = 8


def to_picture(image: Tensor) -> Image.Image:
    """An image (C, H, W) in [0, 1] with C 1 or 3, as Pillow has it."""
    array = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))


def write_gif(path: Path, frames: Sequence[np.ndarray | Image.Image], *, milliseconds: Sequence[int]) -> None:
    """Write an endless animation; the frames (height, width, 3) uint8 share one palette, so that nothing flickers.

    Args:
        path: the GIF to write.
        frames: of one size, or laid on white at the size of the largest.
        milliseconds: how long each frame is shown.
    """
    pictures = [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]
    size = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    pictures = [_on_page(picture.convert("RGB"), size) for picture in pictures]
    seen = pictures[:: max(1, len(pictures) // 8)]
    together = Image.new("RGB", (size[0], size[1] * len(seen)))
    for row, picture in enumerate(seen):
        together.paste(picture, (0, row * size[1]))
    palette = together.quantize(COLOURS)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(1) > 255 - NEAR] = 255  # a palette holds averages: white stays white, and black black
    colours[colours.max(1) < NEAR] = 0
    palette.putpalette(colours.flatten().tolist())
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    options: dict[str, Any] = {"save_all": True, "append_images": flat[1:], "duration": list(milliseconds), "loop": 0}
    write_atomic(path, lambda stream: flat[0].save(stream, format="gif", **options))


def _on_page(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if picture.size == size:
        return picture
    page = Image.new("RGB", size, "white")
    page.paste(picture)
    return page


def write_png(path: Path, image: Tensor) -> None:
    """Write an image (C, H, W) in [0, 1], one pixel a pixel."""
    write_atomic(path, lambda stream: to_picture(image).save(stream, format="png"))
