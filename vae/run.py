"""Owns a run: builds the parts, loops over the epochs, decides when to log, draw and save."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import torch

from vae import checkpoint, folders, machine, summary
from vae.config import Config
from vae.console import Console
from vae.data import Splits, load_splits, to_pixels
from vae.errors import UsageError
from vae.evaluate import evaluate
from vae.files import write_json
from vae.folders import Folders
from vae.model import VAE
from vae.pictures import Pictures
from vae.stopping import Stopped, Stopper
from vae.tracking import Tracker, read_metrics
from vae.train import train_epoch

# What may differ between a run and its continuation; everything else defines the run.
RESUMABLE = {"num_epochs", "device", "threads", "data_dir", "checkpoint_every", "sample_every", "tsne_samples", "quiet"}


def train(given: dict[str, Any]) -> int:
    """Train a new run with the knobs that were given. Returns the exit code."""
    config = Config(**given)
    folders.check_name_is_free(config)
    return Run(config).go()


def resume(given: dict[str, Any]) -> int:
    """Continue the run in the folder `given["resume"]`. Returns the exit code.

    Raises:
        UsageError: a flag that would make it another run.
        CheckpointError: nothing there to continue from.
    """
    run_dir = Path(given.pop("resume")).resolve()
    if not run_dir.is_dir():
        raise UsageError(f"--resume {run_dir}: no such folder; expected a run's folder, such as outputs/latest")
    state = checkpoint.load(run_dir / "checkpoints" / "last.pt")
    stored = Config.from_dict(state["config"])
    for name, value in given.items():
        if name not in RESUMABLE and value != getattr(stored, name):
            raise UsageError(
                f"--{name} belongs to the run (it is {getattr(stored, name)}): start a new one to change it"
            )
    # Relative places are kept relative to the run's folder, so that they hold from any working directory.
    places = {name: os.path.normpath(run_dir / path) for name, path in state["places"].items()}
    config = dataclasses.replace(stored, **{**places, "output_dir": str(run_dir.parent), **given})
    if config.num_epochs < state["epoch"]:
        raise UsageError(f"--num_epochs {config.num_epochs}: the run has {state['epoch']} epochs behind it already")
    return Run(config, state=state, run_dir=run_dir).go()


class Run:
    """One run, new or continued.

    Args:
        config: every knob.
        state: the checkpoint to continue from; `None` starts anew.
        run_dir: the folder of the run to continue.
    """

    def __init__(self, config: Config, *, state: dict[str, Any] | None = None, run_dir: Path | None = None) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.console = Console(quiet=config.quiet)
        self.device = machine.resolve_device(config.device)
        precision = machine.resolve_precision(config.precision, self.device)
        self.splits = self._load_data(config, state)
        self.config = dataclasses.replace(config, dataset=self.splits.name, precision=precision)
        self.epoch = state["epoch"] if state else 0

        torch.manual_seed(config.seed)
        self.model = VAE(config.latent_dim, hidden_dims=config.hidden_dims, image_shape=self.splits.image_shape)
        self.model.to(self.device)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=self.device.type != "mps"
        )
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        rows: list[dict[str, Any]] = []
        if state and run_dir:
            self._restore(state)
            self.folders = Folders(run_dir, Path(config.log_dir) / run_dir.name)
            rows = read_metrics(self.folders.metrics, self.epoch)
        else:
            self.folders = folders.create(self.config)
            self.config = dataclasses.replace(self.config, run_name=self.folders.run_dir.name, overwrite=False)
            self.folders.checkpoints.mkdir()
        self.tracker = Tracker(self.folders.metrics, self.folders.log_path, rows)
        self.pictures = Pictures(
            self.folders.run_dir,
            self.splits,
            latent_dim=config.latent_dim,
            seed=config.seed,
            protocol=self.config.protocol,
        )

    def _load_data(self, config: Config, state: dict[str, Any] | None) -> Splits:
        splits = load_splits(
            config.dataset, Path(config.data_dir), val_split=config.val_split, seed=config.seed, say=self.console.say
        )
        if state:
            splits = dataclasses.replace(splits, fallback=state["fallback"])
        if splits.fallback:
            self.console.warn(
                "MNIST can't be had: this run trains on scikit-learn's 1,797 small digits instead.",
                "Its figures say nothing about MNIST.",
                f"Why: {splits.fallback}",
                f"For MNIST, put its four files into {Path(config.data_dir) / 'MNIST' / 'raw'} (plain or .gz).",
            )
        return splits.to(self.device)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model_state"])
        self.optimizer.load_state_dict(state["optimizer_state"])
        torch.set_rng_state(state["random_state"]["torch"])
        if state["random_state"]["device"] == self.device.type:
            self.generator.set_state(state["random_state"]["generator"])
        else:
            self.generator.manual_seed(self.config.seed + self.epoch)

    def _state(self) -> dict[str, Any]:
        """Everything that a continuation needs, as tensors and plain Python."""
        places = {name: getattr(self.config, name) for name in ("data_dir", "log_dir")}
        return {
            "model_state": self.model.state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "latent_dim": self.model.latent_dim,
            "image_shape": list(self.model.image_shape),
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "random_state": {
                "device": self.device.type,
                "generator": self.generator.get_state(),
                "torch": torch.get_rng_state(),
            },
            "fallback": self.splits.fallback,
            "places": {
                name: path if Path(path).is_absolute() else os.path.relpath(path, self.folders.run_dir)
                for name, path in places.items()
            },
        }

    def go(self) -> int:
        """Train to the last epoch and close. Returns the exit code: 0, or 130 / 143 when stopped by a signal."""
        folders.point_latest(self.folders.run_dir)
        self._write_config()
        self.console.table(
            "VAE: losses are recon + KL in nats per image, lower is better",
            summary.header(
                self.splits,
                self.config,
                parameters=self.parameters,
                device=machine.describe_device(self.device),
                run_dir=self.folders.run_dir,
                done=self.epoch,
            ),
        )
        with Stopper() as stopper:
            try:
                if self.epoch == 0:
                    checkpoint.save(self.folders.last, self._state())
                self._train(stopper)
                self._close(stopper)
            except Stopped as stopped:
                self.console.close_bar()
                self.console.say(f"stopped by {stopped}: {self.folders.last} holds epoch {self.epoch}")
                self.console.say(f"continue with  python main.py --resume {self.folders.run_dir}")
                return 128 + stopped.signal_number
            finally:
                self.console.close_bar()
                self.tracker.close()
        return 0

    def _train(self, stopper: Stopper) -> None:
        images = self.splits.train.images

        def on_batch(count: int) -> None:
            self.console.advance(count)
            stopper.check()

        self.console.start_bar(self.config.num_epochs * len(images), self.epoch * len(images))
        while self.epoch < self.config.num_epochs:
            epoch = self.epoch + 1
            self.console.epoch_begins(epoch, self.config.num_epochs)
            started = time.perf_counter()
            metrics = train_epoch(
                self.model,
                images,
                self.optimizer,
                batch_size=self.config.batch_size,
                generator=self.generator,
                autocast_dtype=machine.AUTOCAST_DTYPES[self.config.precision],
                on_batch=on_batch,
            )
            seconds = time.perf_counter() - started
            row = self._row(epoch, metrics, seconds)
            self._record(row)
            self.console.epoch_ends(row, self.config.num_epochs)

    def _row(self, epoch: int, metrics: dict[str, float], seconds: float) -> dict[str, Any]:
        """One epoch's figures as they go into metrics.jsonl and TensorBoard."""
        row: dict[str, Any] = {"epoch": epoch}
        row |= {f"train/{name}": value for name, value in metrics.items()}
        row["train/elbo"] = -(metrics["recon"] + metrics["kl"])
        for name, split in (("val", self.splits.val), ("test", self.splits.test)):
            if split:
                row |= {f"{name}/{term}": value for term, value in evaluate(self.model, split.images).items()}
        speed = len(self.splits.train) / seconds
        return row | {"lr": self.optimizer.param_groups[0]["lr"], "seconds": seconds, "images_per_second": speed}

    def _record(self, row: dict[str, Any]) -> None:
        """Leave an epoch's traces; the checkpoint comes last, so that what it has seen is all there."""
        epoch, every = row["epoch"], self.config.sample_every
        if every and (epoch == 1 or epoch % every == 0 or epoch == self.config.num_epochs):
            for tag, sheet in self.pictures.draw_epoch(self.model, epoch).items():
                self.tracker.log_image(tag, sheet, epoch)
        earlier = [past["val/loss"] for past in self.tracker.rows if "val/loss" in past]
        self.tracker.log_epoch(row)
        self.epoch = epoch
        state = self._state()
        if "val/loss" in row and row["val/loss"] < min(earlier, default=float("inf")):
            checkpoint.save(self.folders.best, state)
        if self.config.checkpoint_every and epoch % self.config.checkpoint_every == 0:
            checkpoint.save(self.folders.checkpoints / f"epoch_{epoch:03d}.pt", state)
        checkpoint.save(self.folders.last, state)

    def _close(self, stopper: Stopper) -> None:
        """Draw the closing pictures, record the closing figures, print the table."""
        rows = self.tracker.rows
        self.pictures.draw_closing(self.model, rows)
        stopper.check()
        mu, chosen = self.pictures.draw_tsne(self.model, self.epoch, count=self.config.tsne_samples)
        stopper.check()
        names = [self.splits.class_names[label] for label in chosen.labels.tolist()]
        self.tracker.log_embedding(mu, names, to_pixels(chosen.images), self.epoch)
        closing = {name: value for name, value in rows[-1].items() if name.startswith("test/")}
        self.tracker.log_hparams(self.config.to_dict(), closing)
        results = summary.results(self.splits, self.config, rows, parameters=self.parameters)
        write_json(self.folders.results, results)
        title = f"done: {self.splits.title}, {self.config.protocol}, epoch {self.epoch}"
        self.console.table(title, summary.closing_table(results, self.folders.run_dir))

    def _write_config(self) -> None:
        write_json(
            self.folders.config,
            {
                "config": self.config.to_dict(),
                "dataset": self.splits.title,
                "fallback": self.splits.fallback,
                "protocol": self.config.protocol,
                "parameters": self.parameters,
                "seed": self.config.seed,
                "device": machine.describe_device(self.device),
                "versions": machine.versions(),
                "git_commit": machine.git_commit(),
            },
        )
