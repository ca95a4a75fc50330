"""Animations of a run, from the pictures that it left after its epochs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from vae.bitmaps import write_gif
from vae.canvas import COLORS
from vae.image_folder import read_upright

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
