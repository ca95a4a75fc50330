"""A trained model, opened again: a run's folder or any checkpoint, whether the run was finished or interrupted."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from vae.config.config import Config, stored_config
from vae.data.datasets import Split, Splits, load_splits
from vae.data.download import DataError
from vae.data.pixels import draw_once
from vae.model.build import model_from_state
from vae.runs import summary
from vae.system import checkpoint, machine
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UsageError

LATEST = "latest"
MAX_NAME = 300


class Trained:
    """A model on its device in eval mode, with what it was trained on; `open_run` makes one.

    Attributes:
        path: the checkpoint.
        run_dir: the run's folder; `None` for a checkpoint that lies outside of one.
        model: on `device`, in eval mode.
        config: every knob of the run.
        epoch: how many epochs the weights have seen.
    """

    def __init__(self, path: Path, *, device: str = "auto", data_dir: str = "") -> None:
        self.path = path.resolve()
        self._state = checkpoint.load(path)
        self.device = machine.resolve_device(device)
        self.model = model_from_state(self._state, path).to(self.device)
        self.config = stored_config(self._state["config"], path)
        self.epoch: int = self._state["epoch"]
        self.run_dir = _run_of(self.path)
        self._data_dir = data_dir

    @cached_property
    def splits(self) -> Splits:
        """The run's own data, split and made binary as it was, on the device; loaded when first asked for.

        Raises:
            DataError: it can't be had, or it is no longer what the model was trained on.
        """
        data_dir = self.data_dir

        splits = build_splits(self.config, data_dir, fallback=self._state["fallback"])
        trained_on = (tuple(self._state["image_shape"]), self._state["num_classes"])
        if (splits.image_shape, len(splits.class_names)) != trained_on:
            raise DataError(f"{data_dir} holds other images or classes than {self.path} was trained on: see --data_dir")
        return splits.to(self.device)

    @property
    def data_dir(self) -> Path:
        """Where the data is looked for: where it was said to lie, or else where the run found it."""
        return Path(self._data_dir or self._known_data_dir())

    def _known_data_dir(self) -> str:
        """Where the run found its data: seen from its folder or, where nothing is there any more, as it was typed."""
        place = self._state["places"].get("data_dir")
        if self.run_dir and isinstance(place, str):
            found = os.path.normpath(self.run_dir / place)
            if Path(found).is_dir():
                return found
        return self.config.data_dir

    def split(self, name: str) -> Split:
        """The split `train`, `val` or `test` as the model sees it: binary where it was trained on binary images.

        Raises:
            UsageError: there is no such split.
        """
        found: Split | None = getattr(self.splits, name)
        if found is None:
            raise UsageError(f"--split {name}: this run held out no images (--val_split)")
        if name == "train" and self.config.binarize == "dynamic":
            return Split(draw_once(found.images.cpu(), seed=self.config.seed).to(self.device), found.labels)
        return found

    @cached_property
    def _shown(self) -> dict[str, Any]:
        """Title, protocol and class names, for pictures; asked of the data where the checkpoint is too old to say."""
        shown, classes = self._state.get("shown"), self._state["num_classes"]
        if isinstance(shown, dict) and all(map(_is_name, map(shown.get, ("title", "protocol")))):
            names = shown.get("class_names")
            if isinstance(names, list) and len(names) == classes and all(map(_is_name, names)):
                return shown
        protocol = summary.protocol(self.config, self.splits)
        return {"title": self.splits.title, "protocol": protocol, "class_names": list(self.splits.class_names)}

    @property
    def title(self) -> str:
        """The data set's name."""
        return str(self._shown["title"])

    @property
    def protocol(self) -> str:
        """How pixels were made into targets and scored."""
        return str(self._shown["protocol"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty where the data has no classes."""
        return tuple(self._shown["class_names"])

    def subtitle(self, *more: str) -> str:
        """The line under a picture's title."""
        return " · ".join([self.title, f"epoch {self.epoch}", self.protocol, *more])


def open_run(
    path: str | Path = "outputs/latest",
    *,
    device: str = "auto",
    data_dir: str = "",
) -> Trained:
    """Open a run's folder (its `checkpoints/last.pt`) or a checkpoint file.

    Args:
        path: `outputs/latest` is the newest run, also where links can't be made.
        device: auto (the best there is), cpu, mps, cuda or cuda:N.
        data_dir: where the data lies; empty for where the run found it.

    Raises:
        CheckpointError: one line that says why there is nothing to open.
    """
    path = Path(path)
    if path.name == LATEST and not path.is_dir():
        path = _newest(path.parent)
    if path.is_dir():
        last = path.resolve() / "checkpoints" / "last.pt"
        if not last.is_file():
            raise CheckpointError(f"{path} is no run's folder: it has no checkpoints/last.pt")
        path = last
    elif not path.exists():
        raise CheckpointError(f"{path}: no such run or checkpoint")
    return Trained(path, device=device, data_dir=data_dir)


def _is_name(value: object) -> bool:
    """Whether a file's entry can stand in a title."""
    return isinstance(value, str) and value.isprintable() and len(value) <= MAX_NAME


def _newest(output_dir: Path) -> Path:
    """The run in `output_dir` whose last checkpoint is the newest."""
    found = sorted(output_dir.glob("*/checkpoints/last.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(f"no run in {output_dir}: train one (python main.py), or name one (--run, --checkpoint)")
    return found[-1].parent.parent


def _run_of(path: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to."""
    run_dir = path.parent.parent
    return run_dir if path.parent.name == "checkpoints" and (run_dir / "metrics.jsonl").is_file() else None


def build_splits(config: Config, data_dir: Path, *, fallback: str = "") -> Splits:
    """The data that a Config means, split, on the CPU.

    Args:
        config: what data, how it is split and made binary.
        data_dir: where files are looked for and kept; with the data set `folder`, the images.
        fallback: why the digits stand in for MNIST, where a run that is opened again began so.
    """
    splits = load_splits(
        config.dataset,
        data_dir,
        val_split=config.val_split,
        seed=config.seed,
        image_size=config.image_size,
        binarize=config.binarize,
    )
    return splits.standing_in(fallback) if fallback and splits.name == "digits" else splits
