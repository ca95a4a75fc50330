"""Bare image files, pixel by pixel: PNG and animated GIF, with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor
from torch import Tensor

from vae.files import write_atomic

COLOURS = 128  # of an animation
NEAR = 8


def to_picture(image: Tensor) -> Image.Image:
    """An image (C, H, W) in [0, 1] with C 1 or 3, as Pillow has it."""
    array = (image.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))


def write_gif(
    path: Path,
    frames: Sequence[np.ndarray | Image.Image],
    *,
    milliseconds: Sequence[int],
    kept: Sequence[str] = (),
) -> None:
    """Write an endless animation; the frames (height, width, 3) uint8 share one palette, so that nothing flickers.

    Args:
        path: the GIF to write.
        frames: of one size, or laid on white at the size of the largest.
        milliseconds: how long each frame is shown.
        kept: colours such as `#1f2430` that stay as they are, however little of the frames they cover.
    """
    pictures = [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]
    size = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    pictures = [_on_page(picture.convert("RGB"), size) for picture in pictures]
    palette = _palette(pictures[:: max(1, len(pictures) // 8)], kept)
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    options: dict[str, Any] = {"save_all": True, "append_images": flat[1:], "duration": list(milliseconds), "loop": 0}
    write_atomic(path, lambda stream: flat[0].save(stream, format="gif", **options))


def _palette(pictures: Sequence[Image.Image], kept: Sequence[str]) -> Image.Image:
    """A palette image: the colours that are kept, and averages of those in the pictures, weighed by area."""
    together = Image.new("RGB", (pictures[0].width, pictures[0].height * len(pictures)))
    for row, picture in enumerate(pictures):
        together.paste(picture, (0, row * picture.height))
    colours = np.array(together.quantize(COLOURS).getpalette()).reshape(-1, 3)
    colours[colours.min(1) > 255 - NEAR] = 255  # averages: white stays white, and black black
    colours[colours.max(1) < NEAR] = 0
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(part for colour in kept for part in ImageColor.getrgb(colour)), *colours.flatten().tolist()])
    return palette


def _on_page(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if picture.size == size:
        return picture
    page = Image.new("RGB", size, "white")
    page.paste(picture)
    return page


def write_png(path: Path, image: Tensor) -> None:
    """Write an image (C, H, W) in [0, 1], one pixel a pixel."""
    write_atomic(path, lambda stream: to_picture(image).save(stream, format="png"))
