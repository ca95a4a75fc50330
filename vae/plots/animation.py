"""Animations: of a run, from the pictures that it left after its epochs, and of any frames."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from vae.data.decode import read_upright
from vae.plots.canvas import COLORS
from vae.system.files import write_atomic

KINDS = ("samples", "reconstructions", "latent_scatter")  # folders of epoch_NNN.png in a run's folder
MAX_SIDE = 640  # pixels: at full size, sixty epochs would take 12 MB
HOLD = 5  # the last frame is shown this many times as long as the others
PALETTE_SIZE = 128  # averaged colours, besides those that are kept as they are
NEAR = 8  # averaged colours this close to white or black become white or black


def frames_of(run_dir: Path, kind: str) -> list[Path]:
    """The pictures of a kind, by epoch."""
    frames = [path for path in (run_dir / kind).glob("epoch_*.png") if re.fullmatch(r"epoch_\d+", path.stem)]
    return sorted(frames, key=lambda path: int(path.stem.removeprefix("epoch_")))


def animate_run(run_dir: Path, paths: Mapping[str, Path], *, milliseconds: int = 250) -> None:
    """Write an endless GIF of each kind of picture that the run has at least two of, to its path in `paths`."""
    for kind, path in paths.items():
        frames = frames_of(run_dir, kind)
        if len(frames) > 1:
            durations = [milliseconds] * (len(frames) - 1) + [HOLD * milliseconds]
            write_gif(path, [_read_frame(frame) for frame in frames], milliseconds=durations, keep=COLORS)


def _read_frame(path: Path) -> Image.Image:
    frame = read_upright(path).convert("RGB")
    frame.thumbnail((MAX_SIDE, MAX_SIDE))
    return frame


def write_gif(
    path: Path, frames: Sequence[np.ndarray | Image.Image], *, milliseconds: Sequence[int], keep: Sequence[str] = ()
) -> None:
    """Write an endless animation; its frames share one palette, so that nothing flickers.

    Frames are (height, width, 3) uint8, and smaller ones are laid on white at the size of the largest. The colours to
    `keep`, such as `#1f2430`, stay as they are, however little of the frames they cover.
    """
    pictures = [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]
    size = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    pictures = [_on_white(picture, size) for picture in pictures]
    palette = _palette(pictures[:: max(1, len(pictures) // 8)], keep)
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    options: dict[str, Any] = {"save_all": True, "append_images": flat[1:], "duration": list(milliseconds), "loop": 0}
    write_atomic(path, lambda stream: flat[0].save(stream, format="gif", **options))


def _on_white(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    page = Image.new("RGB", size, "white")
    page.paste(picture)
    return page


def _palette(pictures: Sequence[Image.Image], keep: Sequence[str]) -> Image.Image:
    """A palette image: the colours to keep, and averages of those in the pictures (of one size), weighed by area."""
    sheet = Image.new("RGB", (pictures[0].width, pictures[0].height * len(pictures)))
    for row, picture in enumerate(pictures):
        sheet.paste(picture, (0, row * picture.height))
    colors = np.array(sheet.quantize(PALETTE_SIZE).getpalette()).reshape(-1, 3)
    colors[colors.min(1) > 255 - NEAR] = 255
    colors[colors.max(1) < NEAR] = 0
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(part for color in keep for part in ImageColor.getrgb(color)), *colors.flatten().tolist()])
    return palette
