"""`sample`: draws from the prior, decoded."""

from __future__ import annotations

import math

from torch import Tensor

from vae.commands import generate
from vae.commands.generate import names_of
from vae.commands.session import Session
from vae.config import options
from vae.plots import images as figures
from vae.plots.pictures import MAX_COLUMNS
from vae.runs.trained import Trained
from vae.system.console import short_path
from vae.system.files import write_npz


def run(session: Session, chosen: options.Sample) -> None:
    """Decode draws from the prior: a labelled grid, arrays, or a bare PNG each."""
    trained, count = session.trained, chosen.num_samples
    images, labels = generate.sample(
        trained.model, count, digits=chosen.digit, temperature=chosen.temperature, seed=chosen.seed
    )
    if chosen.format == "individual":
        folder = session.folder(session.default / "individual")
        for number, image in enumerate(images, start=1):
            figures.write_png(folder / f"sample_{number:0{len(str(count))}d}.png", image)
        session.console.say(f"wrote {count:,} images to {short_path(folder)}")
        return
    (path,) = session.paths(f"samples.{chosen.format}")
    if chosen.format == "npz":
        write_npz(path, {"images": images, **({} if labels is None else {"labels": labels})})
    else:
        columns, headings = _columns(trained, labels, count)
        figures.draw_grid(
            path,
            images,
            columns=columns,
            title="Samples from the prior" + (f", class {names_of(trained, labels)}" if len(headings) == 1 else ""),
            subtitle=trained.subtitle("pixel means", f"temperature {chosen.temperature:g}, seed {chosen.seed}"),
            headings=headings if len(headings) > 1 else (),
        )
    session.wrote(path)


def _columns(trained: Trained, labels: Tensor | None, count: int) -> tuple[int, list[str]]:
    """Columns of a grid and the names of its classes: as many as rows, or each class in as many as makes that so."""
    classes = [] if labels is None else list(dict.fromkeys(labels.tolist()))
    names = [trained.class_names[index] for index in classes]
    if 1 < len(classes) <= MAX_COLUMNS:
        times = max(1, round(math.sqrt(count) / len(classes)))
        return times * len(classes), times * names
    return math.ceil(math.sqrt(count)), names if len(classes) == 1 else []
