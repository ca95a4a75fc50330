"""`reconstruct`: images through the model and back, each with its ELBO: the test set's, or people's own.

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
from vae.config.options import Reconstruct
from vae.data.download import DataError
from vae.data.own_images import ORIGINAL_SIZE, OwnImage, find, prepare
from vae.data.pixels import enlarge, to_pixels
from vae.evaluation.elbo import EVAL_SEED, score_images
from vae.model.losses import Terms
from vae.plots import images as figures
from vae.plots.canvas import shortened
from vae.runs.trained import Trained
from vae.system.console import Table
from vae.system.errors import UsageError, plain
from vae.system.files import write_json

logger = logging.getLogger(__name__)

ELBO_SAMPLES = 64  # draws from q(z|x) for the ELBO of an image
GUESS_SAMPLES = 16  # the same, for each class that an image may have
REFERENCE = 1000  # test images that an ELBO is compared with, each by one draw
METHOD = f"ELBO in nats, the mean of {ELBO_SAMPLES} posterior samples"
MAX_LISTED = 40  # images on the screen
MAX_DRAWN, COLUMNS = 100, 10  # images in the picture, and in a row of it
MAX_HEADING = 10  # letters of a name above an image


class Reconstructed(NamedTuple):
    """Images, their reconstructions and the terms of their ELBO."""

    names: list[str]
    x: Tensor  # (N, C, H, W) in [0, 1]
    means: Tensor  # (N, C, H, W) in [0, 1], decoded from the posterior means
    recon: Tensor  # (N,) nats
    kl: Tensor  # (N,) nats
    classes: Tensor | None  # (N,) the classes that a conditional model was given

    @property
    def elbo(self) -> Tensor:
        """(N,) nats; larger is better."""
        return Terms(self.recon, self.kl).elbo


def reconstruct(trained: Trained, names: Sequence[str], x: Tensor, y: Tensor | None = None) -> Reconstructed:
    """Encode and decode images x (N, C, H, W) in [0, 1]; without y, a conditional model uses the likeliest classes."""
    model = trained.model
    x = x.to(trained.device)
    if not model.num_classes:
        y = None
    elif y is None:
        y = likeliest_classes(trained, x)
    recon, kl = score_images(model, x, y, samples=ELBO_SAMPLES)
    return Reconstructed(list(names), x, model.reconstruct(x, y), recon, kl, y)


def likeliest_classes(trained: Trained, x: Tensor) -> Tensor:
    """The class (N,) with which each image's ELBO is largest."""
    bounds = []
    for label in range(trained.model.num_classes):
        y = torch.full((len(x),), label, device=x.device)
        bounds.append(score_images(trained.model, x, y, samples=GUESS_SAMPLES).elbo)
    return torch.stack(bounds).argmax(0).to(x.device)


def first_test_images(trained: Trained, count: int) -> Reconstructed:
    """Reconstruct the first `count` images of the test set."""
    test = trained.split("test").take(torch.arange(min(count, len(trained.split("test")))))
    names = [trained.class_names[label] if trained.class_names else "" for label in test.labels.tolist()]
    return reconstruct(trained, names, to_pixels(test.images), test.labels)


def own_images(
    trained: Trained, paths: Sequence[str | Path], *, digits: Sequence[int] = ()
) -> tuple[Reconstructed, list[OwnImage]]:
    """Reconstruct people's own pictures; also returns how each was prepared.

    Unusable pictures in a folder are left out with a message. `digits` gives a conditional model the class of all
    pictures or of each; without it, each has the likeliest.
    """
    model, config = trained.model, trained.config
    files, named = find([str(path) for path in paths]), {Path(path) for path in paths}
    if len(digits) not in (0, 1, len(files)):
        raise UsageError(f"--digit names {len(digits)} classes for {len(files)} images: give one, or one for each")
    y = classes_in_turn(model, digits, len(files)) if digits else None
    images: list[OwnImage] = []
    positions = []  # of the usable files
    for position, file in enumerate(files):
        try:
            binary = config.binarize != "none"
            images.append(prepare(file, dataset=config.dataset, image_shape=model.image_shape, binary=binary))
            positions.append(position)
        except DataError as error:
            if file in named:
                raise
            logger.info("left out: %s", error)
    if not images:
        raise DataError(f"none of the {len(files):,} images in {', '.join(map(str, paths))} can be used")
    x = torch.stack([image.pixels for image in images])
    names = [plain(image.path.name) for image in images]
    return reconstruct(trained, names, x, None if y is None else y[positions]), images


def worse_than(trained: Trained, elbo: Tensor) -> Tensor:
    """The fraction of the first `REFERENCE` test images whose ELBO is larger than each of `elbo`, both (N,)."""
    test = trained.split("test").take(torch.arange(min(REFERENCE, len(trained.split("test")))))
    reference = score_images(trained.model, to_pixels(test.images), test.labels).elbo
    return (reference > elbo.unsqueeze(1)).double().mean(1)


def run(session: Session, options: Reconstruct) -> None:
    """Draw test images, or people's own, over their reconstructions, and score them."""
    trained, console = session.trained, session.console
    own: list[OwnImage] = []
    if options.images:
        result, own = own_images(trained, options.images, digits=options.digit)
    elif options.digit:
        raise UsageError("--digit is the class of your own --images: test images have theirs")
    else:
        result = first_test_images(trained, options.num_images)
    picture_path, json_path = session.paths("reconstructions.png", "reconstructions.json")
    worse = None
    if own:
        try:
            worse = worse_than(trained, result.elbo)
        except DataError as error:
            console.say(f"not compared with test images: {error}")
    write_json(json_path, describe(trained, result, inverted=[image.inverted for image in own], worse=worse))
    draw(trained, result, own, picture_path)
    if inverted := [image.path.name for image in own if image.inverted]:
        console.say(f"inverted, since the background is light: {', '.join(inverted)}")
    for image in own:
        for note in image.notes:
            console.say(f"{image.path.name}: {note}")
    if own and trained.config.binarize != "none":
        console.say("thresholded at 0.5, since the model was trained on binary images")
    title = f"{trained.title}, epoch {trained.epoch}, {trained.protocol}: {METHOD}"
    console.table(title, table(trained, result, worse))
    session.wrote(picture_path, json_path)


def describe(
    trained: Trained, result: Reconstructed, *, inverted: Sequence[bool] = (), worse: Tensor | None = None
) -> dict[str, Any]:
    """The figures of every image, for the JSON file."""
    images = []
    for index, name in enumerate(result.names):
        entry: dict[str, Any] = {"name": name}
        entry |= {term: getattr(result, term)[index].item() for term in ("elbo", "recon", "kl")}
        if result.classes is not None:
            entry["class"] = trained.class_names[int(result.classes[index])]
        if inverted:
            entry["inverted"] = inverted[index]
        if worse is not None:
            entry["worse_than_test_images"] = worse[index].item()
        images.append(entry)
    return {
        "dataset": trained.title,
        "protocol": trained.protocol,
        "epoch": trained.epoch,
        "unit": "nats per image",
        "evaluation": f"float32, beta 1, {METHOD}, noise seed {EVAL_SEED}",
        "images": images,
    }


def table(trained: Trained, result: Reconstructed, worse: Tensor | None) -> Table:
    """The figures of the first images, for the screen."""
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
    """Draw the first images over their reconstructions, below people's own files, each with its ELBO."""
    x, means = result.x[:MAX_DRAWN], result.means[:MAX_DRAWN]
    if own:  # the files at their own resolution, the others enlarged to it
        files = torch.stack([image.original for image in own[:MAX_DRAWN]])
        x, means = enlarge(x, ORIGINAL_SIZE), enlarge(means, ORIGINAL_SIZE)
        versions = {"your image": files, "as trained on": x, "reconstruction": means}
        names = [Path(name).stem for name in result.names]
    else:
        versions = {"original": x, "reconstruction": means}
        names = result.names
    bounds = [f"{bound:.1f}".replace("-", "−") for bound in result.elbo[:MAX_DRAWN].tolist()]
    headings = [f"{shortened(name, MAX_HEADING)}\n{bound}".strip() for name, bound in zip(names, bounds, strict=False)]
    figures.draw_comparison(
        path,
        versions,
        columns=min(COLUMNS, len(result.names)),
        headings=headings,
        title="Your images and their reconstructions" if own else "Test images and their reconstructions",
        subtitle=trained.subtitle(f"above each, {METHOD}"),
    )
