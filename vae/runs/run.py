"""Owns a run: loops over the epochs, decides when to log, draw and save."""

from __future__ import annotations

import dataclasses
import gc
import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from vae.config import Config
from vae.data.datasets import Splits
from vae.evaluation.elbo import posterior
from vae.model.build import load_model
from vae.plots.animation import KINDS, animate_run
from vae.plots.pictures import Pictures
from vae.runs import folders, report, summary
from vae.runs.folders import Folders, seen_from
from vae.runs.scorecard import assess
from vae.runs.tracking import Tracker, read_metrics
from vae.runs.trained import build_splits
from vae.system import checkpoint, machine
from vae.system.console import Console, short_path
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.files import FileError, take_lock, write_json
from vae.system.stopping import Stopped, Stopper
from vae.training.compiled import CompileError
from vae.training.learner import Learner


class Run:
    """The parts of one run; `start` or `restore`, then `go`, and `close` whatever comes.

    Args:
        config: every knob.
        console: the screen.
        fallback: why a continued run trains on the digits in MNIST's place, if it does.
        processes: the processes that train it together; all but the leader only compute.
    """

    folders: Folders
    tracker: Tracker
    places: dict[str, str]  # data_dir and log_dir as seen from the run's folder, so that it can be moved with them

    def __init__(
        self, config: Config, *, console: Console, fallback: str = "", processes: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self.processes = processes
        if config.threads:
            torch.set_num_threads(config.threads)
        self._open = ExitStack()
        self.console = console
        self.device = machine.resolve_device(processes.device or config.device)
        self.splits = self._load_data(config, fallback).to(self.device)
        precision = machine.resolve_precision(config.precision, self.device)
        self.config = dataclasses.replace(config, dataset=self.splits.name, precision=precision)
        self.protocol = summary.protocol(config, self.splits)
        self.learner = Learner(self.config, self.splits, processes=processes)

    def _load_data(self, config: Config, fallback: str) -> Splits:
        splits = build_splits(config, Path(config.data_dir), fallback=fallback)
        if splits.fallback:
            self.console.warn(
                "MNIST can't be had: this run trains on scikit-learn's 1,797 small digits instead.",
                "Its figures say nothing about MNIST.",
                f"Why: {splits.fallback}",
                f"For MNIST, put its four files into {Path(config.data_dir) / 'MNIST' / 'raw'} (plain or .gz).",
            )
        return splits

    def start(self) -> None:
        """Make the folders of a new run, and its first checkpoint: a run killed at once can be continued too."""
        if not self.processes.is_main:
            return
        self.folders = folders.create(self.config)
        self.config = dataclasses.replace(self.config, run_name=self.folders.run_dir.name, overwrite=False)
        run_dir = self.folders.run_dir
        self.places = {name: seen_from(run_dir, getattr(self.config, name)) for name in ("data_dir", "log_dir")}
        self._lock()
        self._begin([])
        self.folders.checkpoints.mkdir()
        checkpoint.save(self.folders.last, self._state())
        folders.point_latest(self.folders.run_dir)

    def restore(self, state: dict[str, Any], where: Folders) -> None:
        """Take up a run where its checkpoint left it."""
        self.folders, self.places = where, state["places"]
        self.learner.restore(state, where.last)
        if not self.processes.is_main:
            return
        self._lock()
        if checkpoint.load(where.last)["epoch"] != self.learner.epoch:  # it was read before the lock was held
            raise FileError(f"{where.run_dir} was trained by another process just now: resume it once more")
        epoch = self.learner.epoch
        rows = read_metrics(where.metrics, epoch)
        folders.check_log(where)
        self._begin(rows)
        if epoch < self.config.num_epochs and where.results.exists():  # no longer the end, but not to be lost
            where.results.replace(where.run_dir / f"results_epoch_{epoch:03d}.json")

    def _lock(self) -> None:
        """Hold the run's lock until it is closed."""
        lock = take_lock(self.folders.lock)
        if lock:
            self._open.callback(lock.close)

    def _begin(self, rows: list[dict[str, Any]]) -> None:
        """Go on from these epochs; what a process that was killed had half written goes. The lock is held."""
        folders.sweep(self.folders)
        self.tracker = Tracker(self.folders.metrics, self.folders.log_path, rows)
        self._open.callback(self.tracker.close)

    def close(self) -> None:
        """Let go of the run's files and its lock."""
        self._open.close()

    def _state(self) -> dict[str, Any]:
        """Everything that a continuation needs, as tensors and plain Python."""
        return {
            **self.learner.state(),
            "config": self.config.to_dict(),
            "fallback": self.splits.fallback,
            "places": self.places,
            "shown": {  # what pictures of the model say of its data, without the data
                "title": self.splits.title,
                "protocol": self.protocol,
                "class_names": list(self.splits.class_names),
            },
        }

    def go(self) -> int:
        """Train to the last epoch and close. Returns the exit code: 0, or 130 / 143 when stopped by a signal."""
        if not self.processes.is_main:
            return self._follow()
        device = machine.describe_device(self.device)
        device += f", {self.processes.world_size} processes" if self.processes.world_size > 1 else ""
        facts = summary.facts(
            self.config, self.splits, protocol=self.protocol, parameters=self.learner.parameters, device=device
        )
        write_json(self.folders.config, facts)
        self.console.table(
            "VAE: losses are recon + KL in nats per image, lower is better",
            summary.header(self.config, self.splits, facts, run_dir=self.folders.run_dir, done=self.learner.epoch),
        )
        pictures = Pictures(
            self.folders.run_dir,
            self.splits,
            conditional=self.config.conditional,
            seed=self.config.seed,
            protocol=self.protocol,
            each_scatter=self.config.gif,
        )
        with Stopper() as stopper:
            try:
                self._train(stopper, pictures)
                self._close(stopper, pictures)
            except Stopped as stopped:
                self.console.close_bar()
                self.console.say(f"stopped by {stopped}: {self.folders.last} holds epoch {self.learner.epoch}")
                where = shlex.quote(short_path(self.folders.run_dir))
                self.console.say(f"continue with  python main.py --resume {where}")
                return 128 + stopped.signal_number
            finally:
                self.console.close_bar()
        return 0

    def _follow(self) -> int:
        """Compute what the leader asks for, and leave no trace."""
        with Stopper() as stopper:
            try:
                self._train(stopper, None)
            except Stopped as stopped:
                return 128 + stopped.signal_number
        return 0

    def _train(self, stopper: Stopper, pictures: Pictures | None) -> None:
        """The epochs; without pictures, and without a trace, in all processes but the leader."""
        images, num_epochs = len(self.splits.train), self.config.num_epochs

        def on_batch(count: int) -> None:
            self.console.advance(count)
            if self.processes.world_size == 1:
                stopper.check()

        self.console.start_bar(num_epochs * images, self.learner.epoch * images)
        gc.freeze()  # what is here stays: looking for garbage among the rest takes milliseconds
        self._open.callback(gc.unfreeze)
        while self.learner.epoch < num_epochs:
            if self.learner.epoch and self.learner.to_compile:
                self._compile()
            self.console.epoch_begins(self.learner.epoch + 1, num_epochs)
            row = self.learner.learn(on_batch)
            if pictures:
                self._record(row, pictures)
            figures = f"train {-row['train/elbo']:.2f}, test {-row['test/elbo']:.2f}"
            self.console.epoch_ends(summary.epoch_line(row, num_epochs), figures)
            self._stop_together(stopper)

    def _compile(self) -> None:
        """Compile the step. After the first epoch: by then a person has seen it work, and so has torch."""
        self.console.say("compiling the training step, once ...")
        started = time.perf_counter()
        try:
            self.learner.compile()
        except CompileError as error:
            if self.config.compile == "on":
                raise CompileError(f"{error}; --compile auto goes on without") from None
            self.console.say(f"note: {error}; the run goes on without")
        else:
            gc.freeze()
            self.console.say(f"compiled in {time.perf_counter() - started:.1f} s")

    def _stop_together(self, stopper: Stopper) -> None:
        """Raise `Stopped` in all processes if a signal has come to any."""
        counts = self.processes.all_reduce(
            torch.tensor([stopper.received == number for number in stopper.SIGNALS]).int()
        )
        for number, count in zip(stopper.SIGNALS, counts.tolist(), strict=True):
            if count:
                raise Stopped(number)

    def _record(self, row: dict[str, Any], pictures: Pictures) -> None:
        """Leave an epoch's traces; the checkpoint comes last, so that what it has seen is all there."""
        epoch, every = row["epoch"], self.config.sample_every
        if every and (epoch == 1 or epoch % every == 0 or epoch == self.config.num_epochs):
            for tag, sheet in pictures.draw_epoch(self.learner.eval_model, epoch).items():
                self.tracker.log_image(tag, sheet, epoch)
            gc.collect()  # figures go round in circles, megabytes each
        earlier = [past["val/loss"] for past in self.tracker.rows if "val/loss" in past]
        self.tracker.log_epoch(row)
        state = self._state()
        if "val/loss" in row and row["val/loss"] < min(earlier, default=float("inf")):
            checkpoint.save(self.folders.best, state)
        if self.config.checkpoint_every and epoch % self.config.checkpoint_every == 0:
            checkpoint.save(self.folders.checkpoints / f"epoch_{epoch:03d}.pt", state)
        checkpoint.save(self.folders.last, state)

    def _close(self, stopper: Stopper, pictures: Pictures) -> None:
        """Draw the closing pictures, record the closing figures, print the table."""
        rows, run_dir = self.tracker.rows, self.folders.run_dir
        mu, _ = posterior(self.learner.eval_model, self.splits.test)
        pictures.draw_closing(self.learner.eval_model, rows, mu)
        stopper.check()
        if self.config.gif:
            animate_run(run_dir, {kind: run_dir / f"{kind}.gif" for kind in KINDS})
            stopper.check()
        if self.config.side_by_side:
            pictures.draw_side_by_side(load_model(run_dir).to(self.device), self.learner.epoch)
        points, chosen = pictures.draw_tsne(mu, self.learner.epoch, count=self.config.tsne_samples)
        stopper.check()
        names = [(self.splits.class_names or ("unlabelled",))[label] for label in chosen.labels.tolist()]
        self.tracker.log_embedding(points, names, chosen.images, self.learner.epoch)
        closing = {name: rows[-1][name] for name in ("test/loss", "test/recon", "test/kl", "test/elbo")}
        results = summary.results(self.splits, rows, protocol=self.protocol, parameters=self.learner.parameters)
        write_json(self.folders.results, results)
        report.write(run_dir, self.learner.eval_model, self.splits, mu, epoch=self.learner.epoch)
        title = f"done: {self.splits.title}, {self.protocol}, epoch {self.learner.epoch}"
        self.console.table(title, summary.closing_table(results, run_dir))
        if not results["test"]["active_units"] and self.learner.epoch > self.config.kl_warmup_epochs:
            self.console.warn(*summary.COLLAPSED)
        if self.config.final_eval:
            found = self._final_eval(stopper)
            write_json(self.folders.results, results | {"final_eval": found})
            closing |= {f"final/{name}": found["test"][name]["mean"] for name in ("nll", "elbo")}
        self.tracker.log_hparams(self.config.hparams(), closing)

    def _final_eval(self, stopper: Stopper) -> dict[str, Any]:
        """Everything that is measured of a finished model, shown as it is found."""
        return assess(
            self.learner.eval_model,
            self.splits,
            protocol=self.protocol,
            binarize=self.config.binarize,
            data_dir=Path(self.config.data_dir),
            num_importance_samples=self.config.num_importance_samples,
            console=self.console,
        )
