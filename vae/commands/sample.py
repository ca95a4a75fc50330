"""`sample`: draws from the prior, decoded."""

from __future__ import annotations

import math

from torch import Tensor

from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Sample
from vae.plots.images import draw_grid, write_png
from vae.plots.pictures import MAX_COLUMNS
from vae.runs.trained import Trained
from vae.system.console import short_path
from vae.system.files import write_npz
from vae.system.wording import plural


def run(session: Session, options: Sample) -> None:
    """Decode draws from the prior into a labelled grid, arrays, or a PNG for each."""
    trained, count = session.trained, options.num_samples
    images, labels, _ = trained.sample(count, digits=options.digit, temperature=options.temperature, seed=options.seed)
    stem = _stem(trained, options)
    if options.format == "individual":
        folder = session.folder(stem)
        for number, image in enumerate(images, start=1):
            name = "" if labels is None else class_slug(trained, int(labels[number - 1]))
            write_png(folder / f"{file_stem('sample', f'{number:0{len(str(count))}d}', name)}.png", image)
        session.console.say(f"wrote {count:,} {plural(count, 'image')} to {short_path(folder)}")
        return
    (path,) = session.paths(f"{stem}.{options.format}")
    if options.format == "npz":
        write_npz(path, {"images": images, **({} if labels is None else {"labels": labels})})
    else:
        columns, headings = _columns(trained, labels, count)
        draw_grid(
            path,
            images,
            columns=columns,
            title="Samples from the prior" + (f", class {headings[0]}" if len(headings) == 1 else ""),
            subtitle=trained.subtitle("pixel means", f"temperature {options.temperature:g}, seed {options.seed}"),
            headings=headings if len(headings) > 1 else (),
        )
    session.wrote(path)


def _stem(trained: Trained, options: Sample) -> str:
    """What tells these samples from others: `samples_class7_seed0_temperature0.8`."""
    classes = "-".join(class_slug(trained, digit) for digit in options.digit)
    return file_stem(
        "samples",
        f"class{classes}" if classes else "",
        f"seed{options.seed}",
        f"temperature{options.temperature:g}" if options.temperature != 1 else "",
        f"{options.num_samples}images" if options.num_samples != Sample.num_samples else "",
    )


def _columns(trained: Trained, labels: Tensor | None, count: int) -> tuple[int, list[str]]:
    """How many columns make a grid about square, with each class in columns of its own, and the classes' names."""
    classes = [] if labels is None else list(dict.fromkeys(labels.tolist()))
    names = [trained.class_names[index] for index in classes]
    if 1 < len(classes) <= MAX_COLUMNS:
        repeats = max(1, round(math.sqrt(count) / len(classes)))
        return repeats * len(classes), repeats * names
    return math.ceil(math.sqrt(count)), names if len(classes) == 1 else []
