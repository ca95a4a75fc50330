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
from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Reconstruct
from vae.data.errors import DataError
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
TABLE = f"ELBO = −(recon + KL) in nats, the mean of {ELBO_SAMPLES} posterior samples"
MAX_LISTED = 40  # images on the screen
MAX_DRAWN, COLUMNS, PAIRS = 100, 10, 5  # images in the picture, in a row of it, and side by side
MAX_HEADING = 10  # letters of a name above an image


class Reconstructed(NamedTuple):
    """Images, their reconstructions and the terms of their ELBO."""

    names: list[str]
    x: Tensor  # (N, C, H, W) in [0, 1]
    means: Tensor  # (N, C, H, W) in [0, 1], decoded from the posterior means
    recon: Tensor  # (N,) nats
    kl: Tensor  # (N,) nats
    classes: Tensor | None  # (N,) the classes that a conditional model was given
    indices: Sequence[int] = ()  # of test images, as other commands take them

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
    result = reconstruct(trained, names, to_pixels(test.images), test.labels)
    return result._replace(indices=range(len(test)))


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
    stem = _stem(trained, options, result)
    picture_path, json_path = session.paths(f"{stem}.png", f"{stem}.json")
    worse = None
    if own:
        try:
            worse = worse_than(trained, result.elbo)
        except DataError as error:
            console.say(f"not compared with test images: {error}")
    write_json(json_path, describe(trained, result, inverted=[image.inverted for image in own], worse=worse))
    draw(trained, result, own, picture_path, side_by_side=options.side_by_side)
    if inverted := [image.path.name for image in own if image.inverted]:
        console.say(f"inverted, since the background is light: {', '.join(inverted)}")
    for image in own:
        for note in image.notes:
            console.say(f"{image.path.name}: {note}")
    if own and trained.config.binarize != "none":
        console.say("thresholded at 0.5, since the model was trained on binary images")
    console.say(f"{trained.title}, epoch {trained.epoch}, {trained.protocol}")
    console.table(TABLE, table(trained, result, worse))
    session.wrote(picture_path, json_path)


def _stem(trained: Trained, options: Reconstruct, result: Reconstructed) -> str:
    """What tells these reconstructions from others: `reconstructions_test0-19` or `reconstructions_me-and-2-more`."""
    count = len(result.names)
    source = f"test0-{count - 1}" if result.indices else Path(result.names[0]).stem
    return file_stem(
        "reconstructions",
        source,
        f"and-{count - 1}-more" if options.images and count > 1 else "",
        "-".join(["as", *(class_slug(trained, digit) for digit in options.digit)]) if options.digit else "",
        "side-by-side" if options.side_by_side else "",
    )


def describe(
    trained: Trained, result: Reconstructed, *, inverted: Sequence[bool] = (), worse: Tensor | None = None
) -> dict[str, Any]:
    """The figures of every image, for the JSON file."""
    images = []
    for index, name in enumerate(result.names):
        entry: dict[str, Any] = {"index": result.indices[index]} if result.indices else {}
        entry["name"] = name
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
        line = f"{result.elbo[index]:8.1f} = −({result.recon[index]:.1f} + {result.kl[index]:.1f})"
        if worse is not None:
            line += f", below {worse[index]:.0%} of test images".replace("%", " %")
            line += f", as {trained.class_names[int(result.classes[index])]}" if result.classes is not None else ""
        rows.append((_labelled(result, index, name), line))
    more = len(result.names) - len(rows)
    return [*rows, ("…", f"and {more:,} more in the JSON file")] if more else rows


def _labelled(result: Reconstructed, position: int, name: str) -> str:
    """What an image is called: `#3: 0`, index and class of a test image, or the name of people's own."""
    return f"#{result.indices[position]}{f': {name}' if name else ''}" if result.indices else name


def draw(
    trained: Trained, result: Reconstructed, own: Sequence[OwnImage], path: Path, *, side_by_side: bool = False
) -> None:
    """Draw the first images, their reconstructions and people's own files under or beside each other, with ELBOs."""
    x, means = result.x[:MAX_DRAWN], result.means[:MAX_DRAWN]
    if own:  # the files at their own resolution, the others enlarged to it
        files = torch.stack([image.original for image in own[:MAX_DRAWN]])
        x, means = enlarge(x, ORIGINAL_SIZE), enlarge(means, ORIGINAL_SIZE)
        versions = {"your image": files, "as trained on": x, "reconstruction": means}
        names = [shortened(Path(name).stem, MAX_HEADING) for name in result.names[:MAX_DRAWN]]
    else:
        versions = {"original": x, "reconstruction": means}
        names = [_labelled(result, *it) for it in enumerate(shortened(name, 6) for name in result.names[:MAX_DRAWN])]
    bounds = [f"{bound:.1f}".replace("-", "−") for bound in result.elbo[:MAX_DRAWN].tolist()]
    title = "Your images and their reconstructions" if own else "Test images and their reconstructions"
    if side_by_side:
        title = f"Left to right: {', '.join(versions)}" if own else "Originals left, reconstructions right"
    draw_versions = figures.draw_side_by_side if side_by_side else figures.draw_comparison
    draw_versions(
        path,
        versions,
        columns=min(PAIRS if side_by_side else COLUMNS, len(result.names)),
        headings=[f"{name}\n{bound}" for name, bound in zip(names, bounds, strict=True)],
        title=title,
        subtitle=trained.subtitle(f"above each: {'' if own else 'index and class, '}{METHOD}"),
    )
