"""From one image to another: which two ends, and the path between them through latent space.

Shapes: N images, S steps, D latent_dim, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vae.commands import generate
from vae.commands import interpolate as morph
from vae.commands.generate import classes_in_turn, draw_latents, names_of
from vae.commands.session import Session
from vae.config import options
from vae.data.pixels import to_pixels
from vae.evaluation.elbo import posterior
from vae.plots import images as figures
from vae.plots.animation import write_gif
from vae.runs.trained import Trained
from vae.system.errors import UsageError

PATHS = ("linear", "spherical")
NEARLY = 1e-6  # of a length or an angle, below which it has no direction


class Ends(NamedTuple):
    """Two places in latent space, and what they are."""

    z: Tensor  # (2, D)
    images: Tensor | None  # (2, C, H, W) uint8, the images they were encoded from
    names: tuple[str, str]
    y: Tensor | None  # (1,) the class that a conditional model decodes the path with


def path_between(z1: Tensor, z2: Tensor, *, steps: int, path: str = "linear") -> Tensor:
    """`steps` points from z1 to z2 (D,), both included: (S, D).

    Args:
        z1: one end.
        z2: the other.
        steps: S, at least 2.
        path: `linear`, or `spherical` (Shoemake 1985, slerp): the direction turns at an even pace, the length goes
            evenly from one to the other. Opposite ends turn by a half circle through the axis that is most nearly at
            right angles to them; where an end has no length, or there is one dimension only, the path is straight.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: a path has at least its two ends")
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device="cpu").unsqueeze(1)  # (S, 1)
    first, second = z1.detach().cpu().double(), z2.detach().cpu().double()
    lengths = first.norm(), second.norm()
    points = torch.lerp(first, second, t)
    if path == "spherical" and min(lengths) > NEARLY and len(z1) > 1:
        a, b = first / lengths[0], second / lengths[1]
        across = b - (a @ b) * a  # the part of b at right angles to a
        angle = torch.atan2(across.norm(), a @ b)
        if across.norm() < NEARLY:  # parallel, or opposite: any direction across will do
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
    """From one image of the test set to another, by their place in it.

    Raises:
        UsageError: there is no such image, or a conditional model is asked to go from class to class.
    """
    test = trained.split("test")
    for index in (first, second):
        if not 0 <= index < len(test):
            raise UsageError(f"{flag} {index}: the test set has the images 0 to {len(test) - 1:,}")
    chosen = test.take(torch.tensor([first, second]))
    mu, _ = posterior(trained.model, chosen)
    words = [f" ({trained.class_names[label]})" if trained.class_names else "" for label in chosen.labels.tolist()]
    names = (f"test image {first:,}{words[0]}", f"test image {second:,}{words[1]}")
    y = classes_in_turn(trained.model, digit, 1)
    if y is not None and not digit:
        if chosen.labels[0] != chosen.labels[1]:
            raise UsageError(
                f"{names[0]} and {names[1]} are of two classes, and this model decodes one: choose it with --digit"
            )
        y = chosen.labels[:1]
    return Ends(mu, chosen.images, names, y)


def between_classes(trained: Trained, first: int, second: int, *, digit: Sequence[int] = ()) -> Ends:
    """From the test image that is most typical of one class, nearest to its mean in latent space, to another's.

    Raises:
        UsageError: there is no such class, or a conditional model is asked to go from class to class.
    """
    test = trained.split("test")
    if not trained.class_names:
        raise UsageError("--digits: these images have no classes")
    mu, _ = posterior(trained.model, test)
    typical = []
    for label in (first, second):
        members = (test.labels == label).nonzero().flatten()
        if not len(members):
            raise UsageError(f"--digits {label}: no test image is of that class")
        nearest = (mu[members] - mu[members].mean(0)).norm(dim=1).argmin()
        typical.append(int(members[nearest]))
    return between_images(trained, typical[0], typical[1], digit=digit)


def between_draws(trained: Trained, *, seed: int = 0, digit: Sequence[int] = ()) -> Ends:
    """From one draw of the prior to another; a conditional model decodes class 0 unless told otherwise."""
    z = draw_latents(trained.model, 2, seed=seed)
    return Ends(z, None, ("a draw from the prior", "another"), classes_in_turn(trained.model, digit, 1))


def default_pair(trained: Trained) -> tuple[int, int]:
    """The first test image, and the next of another class; of the same class where the model is conditional."""
    labels = trained.split("test").labels
    fits = (labels[1:] == labels[0]) == bool(trained.model.num_classes) if trained.class_names else labels[1:] == 0
    found = fits.nonzero().flatten()
    return 0, int(found[0]) + 1 if len(found) else 0


SMOOTH = 4  # frames of an animation for each step of the strip


FRAME, PAUSE = 60, 700  # milliseconds: a frame on the way, and at each end


STRIP = 16  # images in a row of an interpolation


def run(session: Session, chosen: options.Interpolate) -> None:
    """A path through latent space, decoded: a strip and an animation there and back."""
    trained = session.trained
    if chosen.random:
        ends = morph.between_draws(trained, seed=chosen.seed, digit=chosen.digit)
    elif chosen.digits:
        ends = morph.between_classes(trained, *chosen.digits, digit=chosen.digit)
    else:
        ends = morph.between_images(trained, *(chosen.images or morph.default_pair(trained)), digit=chosen.digit)
    strip, film = session.paths("interpolation.png", "interpolation.gif")
    title = "Between two draws from the prior" if ends.images is None else f"From {ends.names[0]} to {ends.names[1]}"
    line = "a straight line" if chosen.path == "linear" else "a path around the origin"
    given = "" if ends.y is None else f" as {names_of(trained, ends.y)}"
    subtitle = trained.subtitle(f"{line} in latent space, decoded{given}")
    smooth = SMOOTH * (chosen.steps - 1) + 1
    z = morph.path_between(*ends.z, steps=smooth, path=chosen.path)
    images = generate.decode_all(trained.model, z, None if ends.y is None else ends.y.expand(len(z)))
    steps, headings = images[::SMOOTH], [f"{step / (chosen.steps - 1):.2f}" for step in range(chosen.steps)]
    if ends.images is not None:
        originals = to_pixels(ends.images)
        steps, headings = torch.cat([originals[:1], steps, originals[1:]]), ["image", *headings, "image"]
    columns = min(len(steps), STRIP)
    fitting = headings if len(steps) <= STRIP else ()
    figures.draw_grid(strip, steps, columns=columns, headings=fitting, title=title, subtitle=subtitle)
    captions = [f"{step / (smooth - 1):.0%} of the way".replace("%", " %") for step in range(smooth)]
    frames = figures.render_frames(images, captions=captions, title=title, subtitle=subtitle)
    durations = [PAUSE, *[FRAME] * (smooth - 2)]
    write_gif(film, [*frames, *frames[-2:0:-1]], milliseconds=[*durations, PAUSE, *durations[1:]])
    session.wrote(strip, film)
