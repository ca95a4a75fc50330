"""`--seeds`: several runs that differ in the seed alone, their common folder, and what they come to together."""

from __future__ import annotations

import os
import shlex
from collections.abc import Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vae.config import presets
from vae.config.config import check_seeds
from vae.runs import catalog, folders
from vae.runs.catalog import RecordedRun, read_run
from vae.runs.entries import Entry
from vae.runs.folders import Folders, relative_to_run
from vae.runs.record import read_seeds
from vae.system.columns import Column, table_lines
from vae.system.console import Console, short_path, terminal_width
from vae.system.errors import UsageError
from vae.system.files import FileError, take_lock, write_json
from vae.system.program import PROGRAM

PLACES = ("data_dir", "log_dir")
OWN = ("run_name", "output_dir", "overwrite", *PLACES)  # flags that the group's folder answers for, not the runs
PASSING = ("device", "compile", "threads", "quiet")  # flags of a continuation that the next one does not inherit


class SeedGroup:
    """The runs of `--seeds` in one folder, which seeds.json describes from before the first of them begins.

    Attributes:
        run_dir: outputs/NAME; its runs are in seed-0, seed-1 and so on.
        log_path: runs/NAME, likewise.
        flags: those that every run is given, without its seed and its places.
        seeds: in the order of training.
        passing: flags of this continuation alone.
        data_dir: of the runs; `None` for the default.
    """

    def __init__(self, run_dir: Path, log_path: Path, flags: dict[str, Any], seeds: tuple[int, ...], data_dir: Path):
        self.run_dir, self.log_path, self.data_dir = run_dir, log_path, data_dir
        self.flags, self.seeds = flags, seeds
        self.passing: dict[str, Any] = {}

    @classmethod
    def create(cls, given: dict[str, Any], *, leftover: Folders | None = None) -> SeedGroup:
        """Make the folders of new runs with the flags `given`, `seeds` among them; or take over `leftover`."""
        given = dict(given)
        seeds = given.pop("seeds")
        config = presets.configure(given)
        made = folders.create(config, suffix="-seeds", leftover=leftover)
        flags = {name: value for name, value in given.items() if name not in (*OWN, "quiet")}
        group = cls(made.run_dir, made.log_path, flags, seeds, Path(config.data_dir))
        group.passing["quiet"] = config.quiet
        group.write()
        return group

    @classmethod
    def open(cls, run_dir: Path) -> SeedGroup:
        """Read the seeds.json in a folder."""
        source = run_dir / folders.SEEDS
        content = read_seeds(source)
        flags = {name: tuple(it) if isinstance(it, list) else it for name, it in content["flags"].items()}
        data_dir, log_path = (_seen_from_here(run_dir, Path(content["places"][name])) for name in PLACES)
        try:
            check_seeds(content["seeds"])
            presets.configure(flags)
        except (UsageError, TypeError) as error:
            raise FileError(f"{short_path(source)} is damaged, or of another version: {error}") from None
        return cls(run_dir, log_path.with_name(run_dir.name), flags, tuple(content["seeds"]), data_dir)

    def change(self, given: dict[str, Any]) -> None:
        """Take over the flags of a continuation, which may differ in some; seeds.json has them once it is written."""
        done = max((run.epoch for seed in self.seeds if (run := self._recorded(seed))), default=0)
        if given.get("num_epochs", done) < done:
            raise UsageError(f"--num_epochs {given['num_epochs']}: a run has reached epoch {done} already")
        self.data_dir = Path(given.get("data_dir", self.data_dir))
        self.log_path = Path(given.get("log_dir", self.log_path.parent)) / self.run_dir.name
        changed = {name: value for name, value in given.items() if name not in OWN}
        self.passing = {name: changed.pop(name) for name in PASSING if name in changed}
        self.flags |= changed

    def write(self, figures: dict[str, Any] | None = None) -> None:
        """Write seeds.json: the flags and seeds, and what the runs have come to."""
        places = {"data_dir": self.data_dir, "log_dir": self.log_path}
        relative = {name: relative_to_run(self.run_dir, str(path)) for name, path in places.items()}
        write_json(
            self.run_dir / folders.SEEDS,
            {"flags": self.flags, "seeds": list(self.seeds), "places": relative, **(figures or {})},
        )

    def lock(self) -> AbstractContextManager[object]:
        """Keep other processes from training these runs."""
        return take_lock(Folders(self.run_dir, self.log_path).lock)

    def dir_of(self, seed: int) -> Path:
        """The folder of a seed's run."""
        return self.run_dir / f"seed-{seed}"

    @property
    def places(self) -> dict[str, str]:
        """The flags of the folders that hold the data and, beside those of other runs, the logs."""
        return {"data_dir": str(self.data_dir), "log_dir": str(self.log_path.parent)}

    @property
    def places_of_runs(self) -> dict[str, str]:
        """These flags as every run is given them."""
        return {"data_dir": str(self.data_dir), "log_dir": str(self.log_path)}

    def flags_of(self, seed: int) -> dict[str, Any]:
        """The flags of a seed's run. What a kill has left of it before its first checkpoint is replaced."""
        places = {"output_dir": str(self.run_dir), **self.places_of_runs}
        return {**self.flags, **self.passing, **places, "seed": seed, "run_name": f"seed-{seed}", "overwrite": True}

    def changes_of(self, seed: int, knobs: Set[str]) -> dict[str, Any]:
        """Of these knobs, those that a continuation of a seed's run is given, which may have done more epochs alone."""
        flags = {name: value for name, value in self.flags.items() if name in knobs}
        if "num_epochs" in flags and (run := self._recorded(seed)):
            flags["num_epochs"] = max(flags["num_epochs"], run.epoch)
        return flags | self.passing

    def is_finished(self, seed: int) -> bool:
        """Whether a seed's run needs no more training and no more scores."""
        return catalog.is_finished(self.dir_of(seed), presets.configure(self.flags))

    def _recorded(self, seed: int) -> RecordedRun | None:
        """What a seed's run has recorded; `None` if it can't be read."""
        try:
            return read_run(self.dir_of(seed))
        except FileError:
            return None

    def report(self, console: Console) -> None:
        """Print a table of the finished seeds with mean and standard deviation, and write it into seeds.json."""
        runs = tuple(read_run(self.dir_of(seed)) for seed in self.seeds if self.is_finished(seed))
        if len({run.yardstick for run in runs}) > 1:
            console.warn(
                "These seeds were trained on different data, so there is no mean of them: see the list command."
            )
        elif runs:
            entry = Entry(self.run_dir.name, runs)
            self.write(figures_of(entry))
            console.say(f"{runs[0].config.model_name}, {runs[0].dataset}, {runs[0].protocol}, epoch {runs[0].epoch}")
            for line in table_lines(_columns(entry), terminal_width() - 2):
                console.say(f"  {line}")
            if entry.unmeasured:
                console.say(entry.unmeasured)
            folder = short_path(self.run_dir)
            console.say(f"written to {folder}/{folders.SEEDS}; more with  {PROGRAM} compare {shlex.quote(folder)}")


def _seen_from_here(run_dir: Path, path: Path) -> Path:
    """A path that is relative to a run's folder as one that is relative to the working directory; others unchanged."""
    return path if path.is_absolute() else Path(os.path.relpath(run_dir / path))


def figures_of(entry: Entry) -> dict[str, Any]:
    """What runs that differ in the seed alone have come to, as seeds.json holds it."""
    first = entry.runs[0]
    return {
        "dataset": first.dataset,
        "protocol": first.protocol,
        "unit": "nats per image, test images; std over seeds with n − 1",
        "epoch": first.epoch,
        "num_importance_samples": entry.num_samples or None,
        "runs": [{"seed": run.config.seed, "run": run.name, **run.scores} for run in entry.runs],
        "test": {name: spread._asdict() for name, spread in entry.spreads.items()},
    }


def _columns(entry: Entry) -> list[Column]:
    """The table of a group: its seeds, then their mean and standard deviation."""
    seeds = [*(str(run.config.seed) for run in entry.runs), f"mean ± std, n = {len(entry.runs)}"]
    columns = [Column("seed", seeds, 1, is_number=False)]
    for place, (name, spread) in enumerate(entry.spreads.items()):
        room = " " * (len(str(spread)) - len(f"{spread.mean:.2f}"))  # below the mean's digits
        cells = [f"{run.scores[name]:.2f}{room}" for run in entry.runs]
        columns.append(Column(entry.titles[name] + room, [*cells, str(spread)], -place))
    return columns
