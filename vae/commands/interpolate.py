"""`interpolate`: from one image to another, along a path through latent space.

Shapes: N images, S steps, C channels, H height, W width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Interpolate
from vae.data.pixels import to_pixels
from vae.model.sampling import Interpolation
from vae.plots import images as figures
from vae.plots.animation import write_gif
from vae.runs.trained import Trained

SMOOTH = 4  # frames of the animation for each step of the strip
FRAME, PAUSE = 60, 700  # milliseconds that a frame on the way is shown, and one at an end
STRIP = 16  # images in a row of the strip


def run(session: Session, options: Interpolate) -> None:
    """Decode a path through latent space: a strip, and an animation there and back."""
    trained = session.trained
    result = trained.interpolate(
        *options.images,
        digits=options.digits,
        random=options.random,
        digit=options.digit[0] if options.digit else None,
        path=options.path,
        steps=SMOOTH * (options.steps - 1) + 1,
        seed=options.seed,
    )
    strip_path, gif_path = session.paths(*(f"{_stem(trained, options, result)}{end}" for end in (".png", ".gif")))
    names = " to ".join(map(trained.name_of, result.indices))
    title = f"From {names}" if names else "Between two draws from the prior"
    line = "a straight line" if options.path == "linear" else "a path around the origin"
    decoded = "decoded" if result.labels is None else f"decoded as {trained.names_of(result.labels)}"
    subtitle = trained.subtitle(f"{line} in latent space, {decoded}")
    _draw_strip(strip_path, trained, result, title=title, subtitle=subtitle)
    _write_animation(gif_path, result.images, title=title, subtitle=subtitle)
    if names:
        session.console.say(f"from {names}")  # with indices for --images
    session.wrote(strip_path, gif_path)


def _stem(trained: Trained, options: Interpolate, result: Interpolation) -> str:
    """What tells this path from others: `interpolation_image3-image18_spherical`."""
    ends = [class_slug(trained, digit) for digit in options.digits] or [f"image{index}" for index in result.indices]
    return file_stem(
        "interpolation",
        "-".join(ends) or f"random-seed{options.seed}",
        f"as{class_slug(trained, options.digit[0])}" if options.digit else "",
        options.path if options.path != "linear" else "",
        f"{options.steps}steps" if options.steps != Interpolate.steps else "",
    )


def _draw_strip(path: Path, trained: Trained, result: Interpolation, *, title: str, subtitle: str) -> None:
    """Draw every SMOOTH-th image of a path, between the test images that its ends encode if there are any."""
    images = result.images[::SMOOTH]
    headings = [f"{step / (len(images) - 1):.2f}" for step in range(len(images))]
    if result.indices:
        first, last = to_pixels(trained.test_images(result.indices).images).cpu().split(1)
        marks = [f"#{index}" for index in result.indices]
        images, headings = torch.cat([first, images, last]), [marks[0], *headings, marks[1]]
    if len(images) > STRIP:  # in several rows
        headings = []
    columns = min(len(images), STRIP)
    figures.draw_grid(path, images, columns=columns, headings=headings, title=title, subtitle=subtitle)


def _write_animation(path: Path, images: Tensor, *, title: str, subtitle: str) -> None:
    """Animate decoded images (N, C, H, W) in [0, 1] there and back, with a pause at each end."""
    last = len(images) - 1
    captions = [f"{step / last:.0%} of the way".replace("%", " %") for step in range(len(images))]
    frames = figures.render_frames(images, captions=captions, title=title, subtitle=subtitle)
    there = [PAUSE, *[FRAME] * (last - 1)]
    write_gif(path, [*frames, *frames[-2:0:-1]], milliseconds=[*there, PAUSE, *there[1:]])
