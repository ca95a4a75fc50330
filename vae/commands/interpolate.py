"""`interpolate`: from one image to another, along a path through latent space.

Shapes: N images, S steps, D latent_dim, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vae.commands.generate import class_list, classes_in_turn, decode_all, draw_latents
from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Interpolate
from vae.data.pixels import to_pixels
from vae.evaluation.elbo import posterior
from vae.plots import images as figures
from vae.plots.animation import write_gif
from vae.runs.trained import Trained
from vae.system.errors import UsageError

TINY = 1e-6  # a shorter vector has no direction
SMOOTH = 4  # frames of the animation for each step of the strip
FRAME, PAUSE = 60, 700  # milliseconds that a frame on the way is shown, and one at an end
STRIP = 16  # images in a row of the strip


class Ends(NamedTuple):
    """Two points in latent space to go between, and where they come from."""

    z: Tensor  # (2, D)
    images: Tensor | None  # (2, C, H, W) uint8, the images that they encode; `None` for draws from the prior
    names: tuple[str, str]
    marks: tuple[str, str]  # over the images: `#3` and `#18`, their indices
    stem: str  # of a file's name: `image3-image18`, `3-8` or `random-seed0`
    y: Tensor | None  # (1,) the class with which a conditional model decodes the path


def path_between(z1: Tensor, z2: Tensor, *, steps: int, path: str = "linear") -> Tensor:
    """`steps` points from z1 to z2 (D,), both included: (S, D).

    On a `spherical` path (slerp, Shoemake 1985) the direction turns at a constant rate, while the length changes
    linearly. Between opposite ends it is a half circle towards the axis that is closest to perpendicular. If an end
    is the origin, or D is 1, it is straight.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: a path needs at least 2, its ends")
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device="cpu").unsqueeze(1)  # (S, 1)
    first, second = z1.detach().cpu().double(), z2.detach().cpu().double()
    lengths = first.norm(), second.norm()
    points = torch.lerp(first, second, t)
    if path == "spherical" and min(lengths) > TINY and len(z1) > 1:
        a, b = first / lengths[0], second / lengths[1]
        across = b - (a @ b) * a  # the part of b that is perpendicular to a
        angle = torch.atan2(across.norm(), a @ b)
        if across.norm() < TINY:  # parallel or opposite: any perpendicular direction will do
            across = torch.zeros_like(a)
            across[a.abs().argmin()] = 1
            across -= (a @ across) * a
        turned = torch.cos(t * angle) * a + torch.sin(t * angle) * across / across.norm()
        points = turned * torch.lerp(lengths[0], lengths[1], t)
        points[0], points[-1] = first, second
    return points.to(z1)


def between_images(
    trained: Trained, first: int, second: int, *, digit: Sequence[int] = (), flag: str = "--images"
) -> Ends:
    """Go from one image of the test set to another, by their index."""
    test = trained.split("test")
    for index in (first, second):
        if not 0 <= index < len(test):
            raise UsageError(f"{flag} {index}: the test set has the images 0 to {len(test) - 1:,}")
    pair = test.take(torch.tensor([first, second]))
    mu, _ = posterior(trained.model, pair)
    classes = [f" ({trained.class_names[label]})" if trained.class_names else "" for label in pair.labels.tolist()]
    names = (f"test image {first:,}{classes[0]}", f"test image {second:,}{classes[1]}")
    y = classes_in_turn(trained.model, digit, 1)
    if y is not None and not digit:
        if pair.labels[0] != pair.labels[1]:
            raise UsageError(f"{names[0]} and {names[1]} have two classes: choose the one to decode with --digit")
        y = pair.labels[:1]
    return Ends(mu, pair.images, names, (f"#{first}", f"#{second}"), f"image{first}-image{second}", y)


def between_classes(trained: Trained, first: int, second: int, *, digit: Sequence[int] = ()) -> Ends:
    """Go from the most typical test image of one class, the nearest to its mean in latent space, to another class's."""
    test = trained.split("test")
    if not trained.class_names:
        raise UsageError("--digits: these images have no classes")
    mu, _ = posterior(trained.model, test)
    typical = []
    for label in (first, second):
        members = (test.labels == label).nonzero().flatten()
        if not len(members):
            raise UsageError(f"--digits {label}: no test image has that class")
        nearest = (mu[members] - mu[members].mean(0)).norm(dim=1).argmin()
        typical.append(int(members[nearest]))
    ends = between_images(trained, typical[0], typical[1], digit=digit)
    return ends._replace(stem=f"{class_slug(trained, first)}-{class_slug(trained, second)}")


def between_draws(trained: Trained, *, seed: int = 0, digit: Sequence[int] = ()) -> Ends:
    """Go from one draw from the prior to another; a conditional model decodes class 0 unless `digit` names one."""
    z = draw_latents(trained.model, 2, seed=seed)
    y = classes_in_turn(trained.model, digit, 1)
    return Ends(z, None, ("a draw from the prior", "another"), ("", ""), f"random-seed{seed}", y)


def default_pair(trained: Trained) -> tuple[int, int]:
    """Indices of the first two test images of one class for a conditional model, or else of two if there are two."""
    labels = trained.split("test").labels
    conditional = bool(trained.model.num_classes)
    same = conditional or len(labels.unique()) == 1
    for first, label in enumerate(labels):
        candidates = ((labels[first + 1 :] == label) == same).nonzero().flatten()
        if len(candidates):
            return first, first + 1 + int(candidates[0])
    kind = "images of one class" if conditional else "images"
    raise UsageError(f"the test set has no two {kind} to go between: see --random")


def run(session: Session, options: Interpolate) -> None:
    """Decode a path through latent space: a strip, and an animation there and back."""
    trained = session.trained
    if options.random:
        ends = between_draws(trained, seed=options.seed, digit=options.digit)
    elif options.digits:
        ends = between_classes(trained, *options.digits, digit=options.digit)
    else:
        ends = between_images(trained, *(options.images or default_pair(trained)), digit=options.digit)
    stem = file_stem(
        "interpolation",
        ends.stem,
        f"as{class_slug(trained, options.digit[0])}" if options.digit else "",
        options.path if options.path != "linear" else "",
        f"{options.steps}steps" if options.steps != Interpolate.steps else "",
    )
    strip_path, gif_path = session.paths(f"{stem}.png", f"{stem}.gif")
    frames = SMOOTH * (options.steps - 1) + 1
    z = path_between(*ends.z, steps=frames, path=options.path)
    images = decode_all(trained.model, z, None if ends.y is None else ends.y.expand(frames))
    title = "Between two draws from the prior" if ends.images is None else f"From {ends.names[0]} to {ends.names[1]}"
    line = "a straight line" if options.path == "linear" else "a path around the origin"
    decoded = "decoded" if ends.y is None else f"decoded as {class_list(trained, ends.y)}"
    subtitle = trained.subtitle(f"{line} in latent space, {decoded}")
    _draw_strip(strip_path, images[::SMOOTH], ends, title=title, subtitle=subtitle)
    _write_animation(gif_path, images, title=title, subtitle=subtitle)
    if ends.images is not None:
        session.console.say(f"{title[0].lower()}{title[1:]}")  # with indices for --images
    session.wrote(strip_path, gif_path)


def _draw_strip(path: Path, images: Tensor, ends: Ends, *, title: str, subtitle: str) -> None:
    """Draw decoded images (S, C, H, W) in [0, 1], between the images that the ends encode if there are any."""
    headings = [f"{step / (len(images) - 1):.2f}" for step in range(len(images))]
    if ends.images is not None:
        first, last = to_pixels(ends.images).split(1)
        images, headings = torch.cat([first, images, last]), [ends.marks[0], *headings, ends.marks[1]]
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
