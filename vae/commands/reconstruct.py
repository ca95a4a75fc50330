"""Images through the model and back, each with its ELBO: the test set's, or people's own.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae.commands.generate import classes_in_turn
from vae.commands.session import Session
from vae.config import options
from vae.data.download import DataError
from vae.data.own_images import ORIGINAL_SIZE, OwnImage, find, prepare
from vae.data.pixels import enlarge, to_pixels
from vae.evaluation.elbo import EVAL_SEED, score_images
from vae.model.losses import Terms
from vae.plots import images as figures
from vae.runs.trained import Trained
from vae.system.console import Table
from vae.system.errors import UsageError, plain
from vae.system.files import write_json

logger = logging.getLogger(__name__)

ELBO_SAMPLES = 64  # draws from q(z|x) for each image's ELBO
GUESS_SAMPLES = 16  # for each class that an image may be of
REFERENCE = 1000  # test images that the ELBO is held against, by one draw each


METHOD = f"ELBO in nats, the mean of {ELBO_SAMPLES} posterior samples"
MAX_LISTED = 40  # images on the screen
COLUMNS, MAX_SHOWN, SHORT = 10, 100, 10  # images in a row and in all of the picture; letters of a name


class Reconstructed(NamedTuple):
    """Images before and after, and how well the model knows them."""

    names: list[str]
    x: Tensor  # (N, C, H, W) in [0, 1]
    means: Tensor  # (N, C, H, W) in [0, 1], decoded from the posterior means
    recon: Tensor  # (N,) nats
    kl: Tensor  # (N,) nats
    classes: Tensor | None  # (N,) what a conditional model was given

    @property
    def elbo(self) -> Tensor:
        """(N,), nats; larger is better."""
        return Terms(self.recon, self.kl).elbo


def reconstruct(trained: Trained, names: Sequence[str], x: Tensor, y: Tensor | None = None) -> Reconstructed:
    """Encode and decode images x (N, C, H, W) in [0, 1]; a conditional model that isn't given y takes the likeliest."""
    model = trained.model
    x = x.to(trained.device)
    if model.num_classes and y is None:
        y = likeliest_classes(trained, x)
    y = y if model.num_classes else None
    recon, kl = score_images(model, x, y, samples=ELBO_SAMPLES)
    return Reconstructed(list(names), x, model.reconstruct(x, y), recon, kl, y)


def likeliest_classes(trained: Trained, x: Tensor) -> Tensor:
    """The class under which each image's ELBO is the largest, (N,)."""
    bounds = []
    for label in range(trained.model.num_classes):
        y = torch.full((len(x),), label, device=x.device)
        bounds.append(score_images(trained.model, x, y, samples=GUESS_SAMPLES).elbo)
    return torch.stack(bounds).argmax(0).to(x.device)


def first_test_images(trained: Trained, count: int) -> Reconstructed:
    """The test set's first images and what becomes of them."""
    test = trained.split("test").take(torch.arange(min(count, len(trained.split("test")))))
    names = [trained.class_names[label] if trained.class_names else "" for label in test.labels.tolist()]
    return reconstruct(trained, names, to_pixels(test.images), test.labels)


def own_images(
    trained: Trained,
    paths: Sequence[str | Path],
    *,
    digits: Sequence[int] = (),
) -> tuple[Reconstructed, list[OwnImage]]:
    """People's own pictures and what becomes of them.

    Args:
        trained: the model.
        paths: files, and folders of them.
        digits: for a conditional model, the class of all of them or of each; empty for the likeliest.

    Raises:
        UsageError: no such file, or a number of classes that fits neither.
        DataError: a picture that is named and can't be used, or a folder of nothing else; the message names it.
    """
    model, config = trained.model, trained.config
    files, named = find([str(path) for path in paths]), {Path(path) for path in paths}
    trained_on: dict[str, Any] = {"dataset": config.dataset, "image_shape": model.image_shape}
    trained_on["binary"] = config.binarize != "none"
    if len(digits) not in (0, 1, len(files)):
        raise UsageError(f"--digit names {len(digits)} classes for {len(files)} images: give one, or one for each")
    y = classes_in_turn(model, digits, len(files)) if digits else None
    own, used = [], []
    for index, file in enumerate(files):
        try:
            own.append(prepare(file, **trained_on))
            used.append(index)
        except DataError as error:
            if file in named:
                raise
            logger.info("left out: %s", error)
    if not own:
        raise DataError(f"none of the {len(files):,} images in {', '.join(map(str, paths))} can be used")
    x = torch.stack([one.pixels for one in own])
    return reconstruct(trained, [plain(one.path.name) for one in own], x, None if y is None else y[used]), own


def worse_than(trained: Trained, elbo: Tensor) -> Tensor:
    """The share of the first `REFERENCE` test images whose ELBO is larger, (N,) in [0, 1].

    Raises:
        DataError: the run's data can't be had.
    """
    test = trained.split("test").take(torch.arange(min(REFERENCE, len(trained.split("test")))))
    known = score_images(trained.model, to_pixels(test.images), test.labels).elbo
    return (known > elbo.unsqueeze(1)).double().mean(1)


def describe(
    trained: Trained, result: Reconstructed, *, inverted: Sequence[bool] = (), worse: Tensor | None = None
) -> dict[str, Any]:
    """Every image's figures, for JSON."""
    images = []
    for index, name in enumerate(result.names):
        terms = {"elbo": result.elbo, "recon": result.recon, "kl": result.kl}
        found: dict[str, Any] = {"name": name, **{term: values[index].item() for term, values in terms.items()}}
        if result.classes is not None:
            found["class"] = trained.class_names[int(result.classes[index])]
        if inverted:
            found["inverted"] = inverted[index]
        if worse is not None:
            found["worse_than_test_images"] = worse[index].item()
        images.append(found)
    return {
        "dataset": trained.title,
        "protocol": trained.protocol,
        "epoch": trained.epoch,
        "unit": "nats per image",
        "evaluation": f"float32, beta 1, {METHOD}, noise seed {EVAL_SEED}",
        "images": images,
    }


def table(trained: Trained, result: Reconstructed, worse: Tensor | None) -> Table:
    """The first images' figures, for a screen."""
    rows = []
    for index, name in enumerate(result.names[:MAX_LISTED]):
        line = f"{result.elbo[index]:8.1f} = −({result.recon[index]:.1f} recon + {result.kl[index]:.1f} KL)"
        if worse is not None:
            line += f", below {worse[index]:.0%} of test images".replace("%", " %")
            line += f", as {trained.class_names[int(result.classes[index])]}" if result.classes is not None else ""
        rows.append((name or str(index), line))
    more = len(result.names) - len(rows)
    return [*rows, ("…", f"and {more:,} more in the JSON file")] if more else rows


def draw(trained: Trained, result: Reconstructed, own: Sequence[OwnImage], path: Path) -> None:
    """The first images over their reconstructions, people's own files above both, each with its ELBO."""
    versions = {"original": result.x[:MAX_SHOWN], "reconstruction": result.means[:MAX_SHOWN]}
    if own:  # the files stand above at their own resolution, and the others at as many pixels
        enlarged = {name: enlarge(images, ORIGINAL_SIZE) for name, images in versions.items()}
        versions = {"your image": torch.stack([one.original for one in own[:MAX_SHOWN]]), **enlarged}
        versions = {name.replace("original", "as trained on"): images for name, images in versions.items()}
    bounds = [f"{bound:.1f}".replace("-", "−") for bound in result.elbo[:MAX_SHOWN].tolist()]
    headings = [
        f"{_short(name, bool(own))}\n{bound}".strip() for name, bound in zip(result.names, bounds, strict=False)
    ]
    figures.draw_comparison(
        path,
        versions,
        columns=min(COLUMNS, len(result.names)),
        headings=headings,
        title="Your images and their reconstructions" if own else "Test images and their reconstructions",
        subtitle=trained.subtitle(f"above each, {METHOD}"),
    )


def _short(name: str, file: bool) -> str:
    name = Path(name).stem if file else name
    return name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"


def run(session: Session, chosen: options.Reconstruct) -> None:
    """Test images, or people's own, over what the model makes of them, with the ELBO of each."""
    trained = session.trained
    own: list[OwnImage] = []
    if chosen.images:
        result, own = own_images(trained, chosen.images, digits=chosen.digit)
    elif chosen.digit:
        raise UsageError("--digit is the class of your own --images: test images come with theirs")
    else:
        result = first_test_images(trained, chosen.num_images)
    picture, figures_path = session.paths("reconstructions.png", "reconstructions.json")
    worse = _worse(session, result) if own else None
    inverted = [one.inverted for one in own]
    write_json(figures_path, describe(trained, result, inverted=inverted, worse=worse))
    draw(trained, result, own, picture)
    if any(inverted):
        lit = ", ".join(one.path.name for one in own if one.inverted)
        session.console.say(f"inverted, since the background is light: {lit}")
    for one in own:
        for note in one.notes:
            session.console.say(f"{one.path.name}: {note}")
    if own and trained.config.binarize != "none":
        session.console.say("cut at a half: this model was trained on binary images")
    title = f"{trained.title}, epoch {trained.epoch}, {trained.protocol}: {METHOD}"
    session.console.table(title, table(trained, result, worse))
    session.wrote(picture, figures_path)


def _worse(session: Session, result: Reconstructed) -> Tensor | None:
    """How the images stand against the test set; `None`, and said, where it can't be had."""
    try:
        return worse_than(session.trained, result.elbo)
    except DataError as error:
        session.console.say(f"not held against test images: {error}")
        return None
