"""What a checkpoint and the folder of its run hold: the model, its configuration, its data and words for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.config.config import Config, stored_config
from vae.config.knobs import check_choice
from vae.data.datasets import load_splits, would_download
from vae.data.errors import DataError
from vae.data.pixels import BINARIZE_SEED, draw_once
from vae.data.prepare import prepare
from vae.data.splits import Split, Splits
from vae.model.build import model_from_state
from vae.model.own import Nets
from vae.plots.canvas import subtitle_of
from vae.runs import summary
from vae.runs.folders import is_implied
from vae.runs.record import read_metrics
from vae.system import machine, weights
from vae.system.errors import UsageError, plain
from vae.system.files import FileError
from vae.system.schema import find_misfit

MAX_TEXT = 300  # characters of a caption
SPLITS = ("train", "val", "test")
CAPTIONS = {"title": str, "protocol": str, "class_names": [str]}


class Opened:
    """A model on its device, in eval mode, with the data and the configuration of its run.

    `path` is the checkpoint; `run_dir` is the run's folder, or `None` for a checkpoint outside of one.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        data_dir: str = "",
        nets: Nets | str | None = None,
        data: Splits | None = None,
    ) -> None:
        self.path = path.resolve()
        self._state = weights.load(path)
        self.device = machine.resolve_device(device)
        self.model = model_from_state(self._state, path, nets).to(self.device)
        self._data = data
        self.config = stored_config(self._state["config"], path)
        self.epoch: int = self._state["epoch"]
        self.run_dir = _run_of(self.path)
        self._data_dir = data_dir

    @cached_property
    def splits(self) -> Splits:
        """The run's own data, split and binarised as in training, on the device; loaded on first use."""
        config = self.config
        if not self.may_write_data and would_download(config.dataset, self.data_dir, binarize=config.binarize):
            named = f"{self.data_dir}, where its run had them: name their folder with --data_dir"
            raise DataError(f"the images that {self.path} was trained on are not in {named}")
        if self._data:
            splits = prepared(self._data, config)
        else:
            try:
                splits = build_splits(config, self.data_dir, fallback=self._state["fallback"])
            except DataError as error:
                if config.dataset != "arrays":
                    raise
                raise DataError(f"{error}; if the images were given in Python, open_run(path, data=…)") from None
        trained_on = (tuple(self._state["image_shape"]), self._state["num_classes"])
        if (splits.image_shape, len(splits.class_names)) != trained_on:
            place, hint = ("data", "") if self._data else (self.data_dir, ": see --data_dir")
            raise DataError(f"{place} holds other images or classes than {self.path} was trained on{hint}")
        return splits.to(self.device)

    @property
    def data_dir(self) -> Path:
        """The folder of the data: the one given to `open_run`, or else the one that the run used.

        The run's own is looked for relative to its folder first and then, if nothing is there, as it was typed.
        """
        if self._data_dir:
            return Path(self._data_dir)
        relative = self._state["places"].get("data_dir")
        if self.run_dir and relative is not None:
            place = Path(os.path.normpath(self.run_dir / relative))
            if place.exists():
                return place
        return Path(self.config.data_dir)

    @property
    def may_write_data(self) -> bool:
        """Whether downloads and classifiers may go to `data_dir`, which is not only the word of the run's own files."""
        run_dirs = [self.run_dir] if self.run_dir else []
        return bool(self._data_dir) or is_implied("data_dir", self.data_dir, *run_dirs)

    def split(self, name: str) -> Split:
        """The split `train`, `val` or `test` as the model sees it: binary if it was trained on binary images."""
        check_choice("split", name, SPLITS)
        split: Split | None = getattr(self.splits, name)
        if split is None:
            raise UsageError(f"split {name}: this run held out no images (--val_split)")
        if name == "train" and self.config.binarize == "dynamic":
            return draw_once(split, seed=BINARIZE_SEED)
        return split

    @cached_property
    def _captions(self) -> dict[str, Any]:
        """Title, protocol and class names for pictures; from the data where the checkpoint has no usable ones."""
        stored: Any = self._state.get("shown")
        if find_misfit(stored, CAPTIONS) is None and len(stored["class_names"]) == self._state["num_classes"]:
            texts = [stored["title"], stored["protocol"], *stored["class_names"]]
            if all(text.isprintable() and len(text) <= MAX_TEXT for text in texts):
                return stored
        return summary.captions(self.config, self.splits, self.model.likelihood.name)

    @property
    def title(self) -> str:
        """The data set's name."""
        return self._captions["title"]

    @property
    def protocol(self) -> str:
        """How pixels were made into targets and scored."""
        return self._captions["protocol"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty if the data has no classes."""
        return tuple(self._captions["class_names"])

    @property
    def description(self) -> dict[str, Any]:
        """What files of the model say of it: among it, the entries of a checkpoint that `open_run` needs too.

        Of folders it has the last parts alone: what is published doesn't say where a run lay.
        """
        names = ("config", "image_shape", "num_classes", "latent_dim", "epoch", "fallback")
        state = {name: self._state[name] for name in names}
        folders = {name: Path(state["config"].get(name, "")) for name in ("data_dir", "output_dir", "log_dir", "nets")}
        state["config"] = state["config"] | {name: path.name for name, path in folders.items() if path.is_absolute()}
        checkpoint = Path(*self.path.parts[-3:]) if self.run_dir else Path(self.path.name)
        captions = {name: self._captions[name] for name in CAPTIONS}
        return captions | {"checkpoint": plain(checkpoint.as_posix()), **state, "places": {}, "shown": self._captions}

    def test_images(self, indices: Sequence[int]) -> Split:
        """The images of the test set with these indices."""
        test = self.split("test")
        if not len(indices):
            raise UsageError("no images: give one or more")
        for index in indices:
            if not 0 <= index < len(test):
                raise UsageError(f"image {index}: the test set has the images 0 to {len(test) - 1:,}")
        return test.take(torch.tensor(indices))

    def name_of(self, index: int) -> str:
        """What a test image is called: its index and its class, `test image 1,234 (7)`."""
        label = int(self.split("test").labels[index])
        return f"test image {index:,}" + (f" ({self.class_names[label]})" if self.class_names else "")

    def names_of(self, labels: Tensor) -> str:
        """The names of the classes among these labels, for a title: `3, 8`."""
        return ", ".join(self.class_names[index] for index in labels.unique().tolist())

    def subtitle(self, *more: str) -> str:
        """The line under a picture's title."""
        return subtitle_of(
            self.title,
            self.config.model_name,
            seed=self.config.seed,
            epoch=self.epoch,
            protocol=self.protocol,
            minus_elbo=self._minus_elbo,
            more=more,
        )

    @property
    def short_name(self) -> str:
        """The checkpoint without where it lies: `my_run/checkpoints/last.pt`."""
        parts = self.path.parts[-3:] if self.run_dir else (self.path.name,)
        return plain(Path(*parts).as_posix())

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A row of figures for each epoch up to the model's, as metrics.jsonl holds them; none outside a run.

        Raises:
            FileError: the file is missing or damaged.
        """
        return read_metrics(self.run_dir / "metrics.jsonl", self.epoch) if self.run_dir else []

    @cached_property
    def _minus_elbo(self) -> float | None:
        """The test set's after the model's epoch, as the run recorded it; `None` if it has no usable record."""
        try:
            return -self.metrics[-1]["test/elbo"]
        except (FileError, IndexError):  # a run's first checkpoint is of epoch 0
            return None


def _run_of(path: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to; `None` if it lies outside of one."""
    run_dir = path.parent.parent
    return run_dir if path.parent.name == "checkpoints" and (run_dir / "metrics.jsonl").is_file() else None


def build_splits(config: Config, data_dir: Path, *, fallback: str = "") -> Splits:
    """Load the data that a Config asks for, split, onto the CPU.

    `fallback` says why the run trains on the digits in place of MNIST; it is empty if it doesn't.
    """
    splits = load_splits(config.dataset, data_dir, **_preparation(config))
    return splits.standing_in(fallback) if fallback and splits.name == "digits" else splits


def prepared(splits: Splits, config: Config) -> Splits:
    """Data given in Python, held out, resized and made binary as a Config asks for."""
    return prepare(splits, **_preparation(config))


def _preparation(config: Config) -> dict[str, Any]:
    """How images are held out, resized and made binary: arguments of `load_splits` and of `prepare`."""
    return {name: getattr(config, name) for name in ("val_split", "seed", "image_size", "binarize")}
