"""Animations of a run, from the pictures that it left after its epochs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor
from torch import Tensor

from vae.data.folder import read_upright
from vae.plots.canvas import COLORS
from vae.system.files import write_atomic

KINDS = ("samples", "reconstructions", "latent_scatter")  # folders of epoch_NNN.png in a run's
SIDE = 640  # pixels at most: at full size sixty epochs would take 12 MB
HOLD = 5  # the last frame stays for as long as that many


def frames_of(run_dir: Path, kind: str) -> list[Path]:
    """The pictures of a kind, by epoch."""
    found = [path for path in (run_dir / kind).glob("epoch_*.png") if re.fullmatch(r"epoch_\d+", path.stem)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("epoch_")))


def animate_run(run_dir: Path, paths: Mapping[str, Path], *, milliseconds: int = 250) -> list[Path]:
    """Write what a run has at least two pictures of as endless GIFs, each to its path of `paths`; returns those.

    Raises:
        DataError: a picture that can't be read; the message names it.
    """
    written = []
    for kind, path in paths.items():
        frames = frames_of(run_dir, kind)
        if len(frames) > 1:
            durations = [milliseconds] * (len(frames) - 1) + [HOLD * milliseconds]
            pictures = [_shrunk(frame) for frame in frames]
            write_gif(path, pictures, milliseconds=durations, kept=COLORS)
            written.append(path)
    return written


def _shrunk(frame: Path) -> Image.Image:
    picture = read_upright(frame).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    return picture


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
