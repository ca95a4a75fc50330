"""`reconstruct`: images through the model and back, each with its ELBO: the test set's, or people's own.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Reconstruct
from vae.data.errors import DataError
from vae.data.own_images import ORIGINAL_SIZE
from vae.data.pixels import enlarge
from vae.evaluation.elbo import EVAL_SEED
from vae.evaluation.reconstruction import ELBO_SAMPLES, Reconstructed
from vae.plots import images as figures
from vae.plots.canvas import shortened
from vae.runs.trained import Trained
from vae.system.console import Table
from vae.system.errors import UsageError, plain
from vae.system.files import write_json

METHOD = f"ELBO in nats, the mean of {ELBO_SAMPLES} posterior samples"
TABLE = f"ELBO = −(recon + KL) in nats, the mean of {ELBO_SAMPLES} posterior samples"
MAX_LISTED = 40  # images on the screen
MAX_DRAWN, COLUMNS, PAIRS = 100, 10, 5  # images in the picture, in a row of it, and side by side
MAX_HEADING, MAX_CLASS = 10, 6  # letters of a file's name above an image, and of a class's


def run(session: Session, options: Reconstruct) -> None:
    """Draw test images, or people's own, over their reconstructions, and score them."""
    trained, console, worse = session.trained, session.console, None
    if options.images:
        result = trained.reconstruct(options.images, digits=options.digit)
        names = [plain(picture.path.name) for picture in result.pictures]
    elif options.digit:
        raise UsageError("--digit is the class of your own --images: test images have theirs")
    else:
        test = trained.split("test")
        result = trained.reconstruct(range(min(options.num_images, len(test))))
        names = [trained.class_names[label] if trained.class_names else "" for label in test.labels[: len(result.x)]]
    paths = session.paths(*(f"{_stem(trained, options, names)}{end}" for end in (".png", ".json")))
    if result.pictures:
        try:
            worse = trained.worse_than(result.elbo)
        except DataError as error:
            console.say(f"not compared with test images: {error}")
    write_json(paths[1], describe(trained, result, names, worse))
    draw(trained, result, names, paths[0], side_by_side=options.side_by_side)
    if inverted := [picture.path.name for picture in result.pictures if picture.inverted]:
        console.say(f"inverted, since the background is light: {', '.join(inverted)}")
    for picture in result.pictures:
        for note in picture.notes:
            console.say(f"{picture.path.name}: {note}")
    if result.pictures and trained.config.binarize != "none":
        console.say("thresholded at 0.5, since the model was trained on binary images")
    console.say(f"{trained.title}, epoch {trained.epoch}, {trained.protocol}")
    console.table(TABLE, table(trained, result, names, worse))
    session.wrote(*paths)


def _stem(trained: Trained, options: Reconstruct, names: Sequence[str]) -> str:
    """What tells these reconstructions from others: `reconstructions_test0-19` or `reconstructions_me-and-2-more`."""
    more = len(names) - 1
    return file_stem(
        "reconstructions",
        Path(names[0]).stem if options.images else f"test0-{more}",
        f"and-{more}-more" if options.images and more else "",
        "-".join(["as", *(class_slug(trained, digit) for digit in options.digit)]) if options.digit else "",
        "side-by-side" if options.side_by_side else "",
    )


def describe(trained: Trained, result: Reconstructed, names: Sequence[str], worse: Tensor | None) -> dict[str, Any]:
    """The figures of every image, for the JSON file."""
    images = []
    for index, name in enumerate(names):
        entry: dict[str, Any] = {"name": name} if result.pictures else {"index": index, "name": name}
        entry |= {term: getattr(result, term)[index].item() for term in ("elbo", "recon", "kl")}
        if result.labels is not None:
            entry["class"] = trained.class_names[int(result.labels[index])]
        if result.pictures:
            entry["inverted"] = result.pictures[index].inverted
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


def table(trained: Trained, result: Reconstructed, names: Sequence[str], worse: Tensor | None) -> Table:
    """The figures of the first images, for the screen."""
    rows = []
    for index, name in enumerate(names[:MAX_LISTED]):
        line = f"{result.elbo[index]:8.1f} = −({result.recon[index]:.1f} + {result.kl[index]:.1f})"
        if worse is not None:
            line += f", below {worse[index]:.0%} of test images".replace("%", " %")
            line += f", as {trained.class_names[int(result.labels[index])]}" if result.labels is not None else ""
        rows.append((name if result.pictures else _numbered(index, name), line))
    more = len(names) - len(rows)
    return [*rows, ("…", f"and {more:,} more in the JSON file")] if more else rows


def _numbered(index: int, name: str) -> str:
    """What a test image is called: `#3: 0`, its index and its class."""
    return f"#{index}{f': {name}' if name else ''}"


def draw(
    trained: Trained, result: Reconstructed, names: Sequence[str], path: Path, *, side_by_side: bool = False
) -> None:
    """Draw the first images, their reconstructions and people's own files under or beside each other, with ELBOs."""
    x, means, own = result.x[:MAX_DRAWN], result.means[:MAX_DRAWN], result.pictures[:MAX_DRAWN]
    if own:  # the files at their own resolution, the others enlarged to it
        x, means = enlarge(x, ORIGINAL_SIZE), enlarge(means, ORIGINAL_SIZE)
        versions = {"your image": torch.stack([image.original for image in own]), "as trained on": x}
        title = "Your images and their reconstructions"
        over = [shortened(Path(name).stem, MAX_HEADING) for name in names[:MAX_DRAWN]]
    else:
        versions, title = {"original": x}, "Test images and their reconstructions"
        over = [_numbered(index, shortened(name, MAX_CLASS)) for index, name in enumerate(names[:MAX_DRAWN])]
    versions["reconstruction"] = means
    if side_by_side:
        title = f"Left to right: {', '.join(versions)}" if own else "Originals left, reconstructions right"
    bounds = [f"{bound:.1f}".replace("-", "−") for bound in result.elbo[:MAX_DRAWN].tolist()]
    draw_versions = figures.draw_side_by_side if side_by_side else figures.draw_comparison
    draw_versions(
        path,
        versions,
        columns=min(PAIRS if side_by_side else COLUMNS, len(names)),
        headings=[f"{name}\n{bound}" for name, bound in zip(over, bounds, strict=True)],
        title=title,
        subtitle=trained.subtitle(f"above each: {'' if own else 'index and class, '}{METHOD}"),
    )
