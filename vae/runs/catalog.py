"""The runs in a folder, each in a few figures, from the small files that it has left: no checkpoint, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from vae.config.config import Config, stored_config
from vae.config.fields import OWN
from vae.runs.folders import Folders
from vae.runs.record import last_row, read_description, read_metrics, read_text, started
from vae.system.console import short_path
from vae.system.files import FileError, LockedError, take_lock
from vae.system.schema import find_misfit

FINISHED, STOPPED, TRAINING = "finished", "stopped", "training"
PIXELS = {"none": "grey", "dynamic": "dynamic", "static": "static", "threshold": "threshold"}
LOSSES = {"bce": "", "mse": "mse", "continuous_bernoulli": "cont. Bernoulli"}
TERMS = {"loss": "−ELBO", "recon": "recon", "kl": "KL"}  # of the test images, nats per image, lower is better
MEASURED = {"num_importance_samples": int, "protocol": str, "test": {"nll": {"mean": float}}}
KNOBS = frozenset(Config.__dataclass_fields__)


class Likelihood(NamedTuple):
    """An importance-weighted bound on the test images' −log p(x)."""

    nll: float  # nats per image
    num_samples: int  # K, for each image; a larger K gives a smaller NLL

    def __str__(self) -> str:
        """`94.36 (K=5,000)`."""
        return f"{self.nll:.2f} (K={self.num_samples:,})"


@dataclass(frozen=True)
class RecordedRun:
    """What a run has recorded of itself."""

    path: Path
    name: str  # its folder's name, below the folder of all runs
    config: Config
    dataset: str
    protocol: str
    density: str  # a likelihood of its own, by name; empty for the built-in ones
    parameters: int
    state: str  # finished, stopped or training
    epoch: int  # epochs done
    test: dict[str, float]  # loss (−ELBO), recon and kl of the last epoch, nats per image; empty before the first
    likelihood: Likelihood | None  # of the last epoch's model
    started: datetime
    seconds: float  # in training epochs

    @property
    def yardstick(self) -> tuple[str, str]:
        """What two runs must share before their likelihoods are compared: the images, and how they are scored."""
        return self.dataset, self.protocol

    @property
    def scoring(self) -> str:
        """The yardstick in a few letters, for a narrow column: `mnist grey`."""
        config = self.config
        size = f"{config.image_size}²" if config.image_size != 28 else ""
        name = self.dataset if config.dataset in OWN else config.dataset
        given = "given class" if config.conditional else ""
        density = self.density or LOSSES[config.recon_loss]
        return " ".join(filter(None, [name, PIXELS[config.binarize], density, size, given]))

    @property
    def scores(self) -> dict[str, float]:
        """The terms of the test images' −ELBO and, where it was measured, their NLL, in nats per image."""
        return self.test | ({"nll": self.likelihood.nll} if self.likelihood else {})

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of its metrics.jsonl, one for each epoch."""
        return read_metrics(self.path / "metrics.jsonl", self.epoch)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        likelihood = self.likelihood
        return {
            "name": self.name,
            "path": str(self.path),
            "dataset": self.dataset,
            "protocol": self.protocol,
            "model": self.config.model_name,
            "parameters": self.parameters,
            "seed": self.config.seed,
            "state": self.state,
            "epoch": self.epoch,
            "num_epochs": self.config.num_epochs,
            **dict.fromkeys((*TERMS, "nll")),
            **self.scores,
            "num_importance_samples": likelihood.num_samples if likelihood else None,
            "started": f"{self.started:%Y-%m-%d %H:%M:%S}",
            "train_seconds": round(self.seconds, 2),
        }


def find_runs(output_dir: Path, *, prefix: str = "") -> tuple[list[RecordedRun], dict[str, str]]:
    """The runs in a folder and in its subfolders, the newest first; and why others can't be read, by name.

    Folders that hold no run are passed over. `latest` is another name of a run, and not one of its own.
    Names are those of folders below this one, after `prefix`.
    """
    runs, damaged = [], {}
    for folder in _run_folders(output_dir):
        name = prefix + folder.relative_to(output_dir).as_posix()
        try:
            runs.append(read_run(folder, name))
        except FileError as error:
            damaged[name] = str(error)
    return sorted(runs, key=lambda run: run.started, reverse=True), damaged


def _run_folders(folder: Path, *, depth: int = 2) -> Iterator[Path]:
    """Runs in a folder, and those in its folders that are none, such as the runs of `--seeds`."""
    try:
        inside = sorted(path for path in folder.iterdir() if path.name != "latest" and path.is_dir())
    except OSError as error:
        if depth < 2:  # a stranger's folder
            return
        raise FileError(f"can't look into {folder}: {error.strerror or error}") from None
    for path in inside:
        if is_run(path):
            yield path
        elif depth > 1:
            yield from _run_folders(path, depth=depth - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run's, damaged or not: one of the three may be gone."""
    return sum((folder / name).exists() for name in ("config.json", "metrics.jsonl", "checkpoints")) > 1


def read_run(folder: Path, name: str = "") -> RecordedRun:
    """Read what a run has recorded, of an older version too.

    Raises:
        FileError: a file is missing or damaged, in one line.
    """
    source = folder / "config.json"
    description = read_description(source)
    knobs = {name: value for name, value in description["config"].items() if name in KNOBS}
    config = stored_config(knobs, Path(short_path(source)))
    epoch, seconds, last = last_row(folder / "metrics.jsonl")
    results = _read_json(folder / "results.json")
    is_finished = bool(results) and epoch >= config.num_epochs
    state = FINISHED if is_finished else TRAINING if _is_locked(folder / ".lock") else STOPPED
    return RecordedRun(
        path=folder,
        name=name or folder.name,
        config=config,
        dataset=description["dataset"],
        protocol=description["protocol"],
        density=_own_density(description),
        parameters=description["parameters"],
        state=state,
        epoch=epoch,
        test={term: last[f"test/{term}"] for term in TERMS} if last else {},
        likelihood=_newest_likelihood(folder, results, epoch),
        started=started(folder, seconds),
        seconds=seconds,
    )


def _own_density(description: dict[str, Any]) -> str:
    """The name of a likelihood that is not built in; older runs have none."""
    name = description.get("likelihood")
    return name if isinstance(name, str) and name not in LOSSES else ""


def is_finished(folder: Path, config: Config) -> bool:
    """Whether a run, continued with this configuration, needs no more training and no more scores."""
    try:
        run = read_run(folder)
    except FileError:
        return False
    is_cut_short = Folders(folder, folder).stopped.exists()  # before its last picture
    if run.state != FINISHED or run.epoch < config.num_epochs or is_cut_short:
        return False
    return run.likelihood is not None or not config.final_eval


def _newest_likelihood(folder: Path, results: dict[str, Any], epoch: int) -> Likelihood | None:
    """The NLL of the last epoch's model, by `--final_eval` or by `evaluate`, whichever is newer."""
    scored = [(folder / "results.json", results.get("epoch"), results.get("final_eval"))]
    for path in folder.glob("evaluate/*.json"):
        content = _read_json(path)
        scored.append((path, content.get("epoch"), content.get("measured")))
    usable = [
        (path.stat().st_mtime, measured)
        for path, at, measured in scored
        if measured and at == epoch and not find_misfit(measured, MEASURED)
    ]
    if not usable:
        return None
    _, newest = max(usable, key=lambda item: item[0])
    return Likelihood(newest["test"]["nll"]["mean"], newest["num_importance_samples"])


def _read_json(path: Path) -> dict[str, Any]:
    """An optional file's object; empty where there is none, or where it is damaged."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_text(path))
    except (FileError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_locked(lock: Path) -> bool:
    """Whether a process trains the run at this moment."""
    if not lock.is_file():
        return False
    try:
        with take_lock(lock):
            return False
    except LockedError:
        return True
    except FileError:  # a folder in which nothing can be written, or locked
        return False
