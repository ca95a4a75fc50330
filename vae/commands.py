"""What people do with a trained model: each command opens it, writes figures or pictures, and says where."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae import destination, figures, generate, options, scoreboard
from vae.arrays import write_npz
from vae.bitmaps import write_png
from vae.console import Console
from vae.files import write_json
from vae.options import Options
from vae.pictures import MAX_COLUMNS, MAX_NAME
from vae.summary import shown
from vae.trained import Trained, open_run


class Session:
    """One command at work: the opened model, the screen, and where files go."""

    def __init__(self, chosen: Options) -> None:
        if chosen.threads:
            torch.set_num_threads(chosen.threads)
        self._chosen = chosen
        self.console = Console(quiet=chosen.quiet)
        path = chosen.checkpoint or chosen.run or Path("outputs") / "latest"
        self.trained = open_run(path, device=chosen.device, data_dir=chosen.data_dir, say=self.console.say)

    @property
    def default(self) -> Path:
        """The command's own folder: in the run's or, for a checkpoint outside of one, in the working directory."""
        trained, command = self.trained, self._chosen.name
        return trained.run_dir / command if trained.run_dir else Path(f"{trained.path.stem}-{command}")

    def paths(self, *names: str) -> list[Path]:
        """Where files of these names go, made free of earlier results."""
        output, overwrite = self._chosen.output, self._chosen.overwrite
        return destination.choose(names, default=self.default, output=output, overwrite=overwrite)

    def folder(self, default: Path) -> Path:
        """A folder for many files, `default` or what was asked for."""
        output, overwrite = self._chosen.output, self._chosen.overwrite
        return destination.choose_folder(default.name, default=default.parent, output=output, overwrite=overwrite)

    def wrote(self, *paths: Path) -> None:
        """Say where the results lie."""
        self.console.say(f"wrote {', '.join(shown(path) for path in paths)}")


def execute(chosen: Options) -> int:
    """Carry out a command. Returns the exit code."""
    DOING[chosen.name](Session(chosen), chosen)
    return 0


def evaluate(session: Session, chosen: options.Evaluate) -> None:
    """Print the figures as a table and leave them as JSON."""
    (path,) = session.paths("evaluation.json")
    found = scoreboard.score(session.trained)
    write_json(path, found)
    session.console.table(f"{found['dataset']}, epoch {found['epoch']}", scoreboard.table(found))
    session.wrote(path)


def sample(session: Session, chosen: options.Sample) -> None:
    """Leave a grid of samples, an array, or an image each."""
    trained, count = session.trained, chosen.num_samples
    images, labels = generate.sample(
        trained.model, count, digits=chosen.digit, temperature=chosen.temperature, seed=chosen.seed
    )
    if chosen.format == "individual":
        folder = session.folder(session.default / "individual")
        for number, image in enumerate(images, start=1):
            write_png(folder / f"sample_{number:0{len(str(count))}d}.png", image)
        session.console.say(f"wrote {count:,} images to {shown(folder)}")
        return
    (path,) = session.paths(f"samples.{chosen.format}")
    if chosen.format == "npz":
        write_npz(path, {"images": images, **({} if labels is None else {"labels": labels})})
    else:
        drawn = f"temperature {chosen.temperature:g}, seed {chosen.seed}"
        columns, headings = _columns(trained, labels, count)
        figures.draw_grid(
            path,
            images,
            columns=columns,
            title="Samples from the prior",
            subtitle=trained.subtitle("pixel means", drawn),
            headings=headings,
        )
    session.wrote(path)


def _columns(trained: Trained, labels: Tensor | None, count: int) -> tuple[int, list[str]]:
    """Columns of a grid and their headings: a class each, or as many as rows."""
    classes = [] if labels is None else list(dict.fromkeys(labels.tolist()))
    if 1 < len(classes) <= MAX_COLUMNS:
        return len(classes), [trained.class_names[index][:MAX_NAME] for index in classes]
    return math.ceil(math.sqrt(count)), []


DOING: dict[str, Callable[[Session, Any], None]] = {"evaluate": evaluate, "sample": sample}
