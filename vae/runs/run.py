"""Train a run: the loop over its epochs, and what each of them leaves in its folder."""

from __future__ import annotations

import dataclasses
import gc
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from vae.config import Config, presets
from vae.data.splits import Splits
from vae.model.own import NOTHING, Own
from vae.plots.pictures import Pictures
from vae.runs import folders, summary
from vae.runs.finish import evaluate_fully, finish
from vae.runs.folders import Folders, relative_to_run
from vae.runs.opened import build_splits, prepared
from vae.runs.record import read_metrics, started
from vae.runs.tracking import Tracker, silent_writer_thread
from vae.system import checkpoint, machine, memory
from vae.system.console import Console, short_path
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup, ProcessLostError
from vae.system.errors import UsageError
from vae.system.files import FileError, take_lock, write_atomic, write_json
from vae.system.stopping import Stopped, Stopper, raise_if_stopped
from vae.training.compiled import CompileError
from vae.training.learner import Learner
from vae.training.schedule import phase

SLOW = 3  # an epoch that takes so many times as long as the fastest is worth a remark


class Run:
    """One run: `start` or `restore` it, then `train`, and `close` it in any case.

    `fallback` says why a resumed run trains on the digits in place of MNIST. Of several processes that train a run
    together, only the main one writes files. `own` are the nets and the data that a person gives.
    """

    folders: Folders
    tracker: Tracker
    relative_dirs: dict[str, str]  # data_dir and log_dir as seen from the run's folder, so that all can move together
    pictures: Pictures | None = None  # only in the main process

    def __init__(
        self,
        config: Config,
        *,
        console: Console,
        fallback: str = "",
        processes: ProcessGroup = SINGLE_PROCESS,
        own: Own = NOTHING,
    ) -> None:
        if config.batch_size < processes.world_size:
            raise UsageError(f"--batch_size {config.batch_size}: {processes.world_size} processes share a batch")
        if config.tc_weight != 1 and processes.world_size > 1:
            raise UsageError("--tc_weight compares all images of a batch, which processes would share: train in one")
        if config.threads:
            torch.set_num_threads(config.threads)
        memory.keep_freed()
        self.console, self.processes = console, processes
        self._cleanup = ExitStack()
        self._fastest: dict[int, float] = {}  # seconds of an epoch, by its phase's number of samples
        self.device = machine.resolve_device(processes.device or config.device)
        splits = self._load_data(config, fallback) if own.splits is None else prepared(own.splits, config)
        self.splits = splits.to(self.device)
        precision = machine.resolve_precision(config.precision, self.device)
        dataset = self.splits.name if own.splits is None else "arrays"
        self.config = dataclasses.replace(config, dataset=dataset, precision=precision)
        self.learner = Learner(self.config, self.splits, processes=processes, nets=own.nets)
        self._likelihood = self.learner.model.likelihood.name

    def _load_data(self, config: Config, fallback: str) -> Splits:
        splits = build_splits(config, Path(config.data_dir), fallback=fallback)
        if splits.fallback:
            self.console.warn(
                "MNIST is not available: this run trains on scikit-learn's 1,797 small digits instead.",
                "Its figures say nothing about MNIST.",
                f"Why: {splits.fallback}",
                f"For MNIST, put its four files into {Path(config.data_dir) / 'MNIST' / 'raw'} (plain or .gz).",
            )
        return splits

    def start(self, leftover: Folders | None = None) -> None:
        """Make a new run's folders and its first checkpoint, so that it can be resumed even if it is killed at once.

        `leftover` are the folders that such a kill has left before the checkpoint.
        """
        if not self.processes.is_main:
            return
        self.folders = folders.create(self.config, leftover=leftover)
        run_dir = self.folders.run_dir
        self.config = dataclasses.replace(self.config, run_name=run_dir.name, overwrite=False)
        self.relative_dirs = {
            name: relative_to_run(run_dir, getattr(self.config, name)) for name in ("data_dir", "log_dir")
        }
        self._cleanup.enter_context(take_lock(self.folders.lock))
        if self.folders.last.exists():
            raise FileError(f"{run_dir} was begun by another process just now: the same command again continues it")
        self._open_records([])
        self.folders.checkpoints.mkdir(exist_ok=True)
        checkpoint.save(self.folders.last, self._state())
        folders.link_latest(run_dir)

    def restore(self, state: dict[str, Any], run_folders: Folders) -> None:
        """Continue a run from its checkpoint."""
        self.folders, self.relative_dirs = run_folders, state["places"]
        self.learner.restore(state, self.folders.last)
        if not self.processes.is_main:
            return
        folders.check_written(self.folders)
        self._cleanup.enter_context(take_lock(self.folders.lock))
        epoch = self.learner.epoch
        if checkpoint.load(self.folders.last)["epoch"] != epoch:  # `state` was read before the lock was taken
            raise FileError(f"{self.folders.run_dir} was trained by another process just now: resume it once more")
        rows = read_metrics(self.folders.metrics, epoch)
        self._open_records(rows)
        if epoch < self.config.num_epochs and self.folders.results.exists():  # keep the results of the shorter run
            self.folders.results.replace(self.folders.run_dir / f"results_epoch_{epoch:03d}.json")

    def _open_records(self, rows: list[dict[str, Any]]) -> None:
        """Write config.json, cut the logs after the epochs in `rows`, and open them."""
        folders.remove_scratch_files(self.folders)
        self.folders.stopped.unlink(missing_ok=True)
        device = machine.describe_device(self.device)
        device += f", {self.processes.world_size} processes" if self.processes.world_size > 1 else ""
        parameters = self.learner.parameters
        self.description = summary.describe_run(
            self.config, self.splits, likelihood=self._likelihood, parameters=parameters, device=device
        )
        self.description["started"] = started(self.folders.run_dir, sum(row["seconds"] for row in rows)).isoformat()
        write_json(self.folders.config, self.description)
        self._cleanup.enter_context(silent_writer_thread())
        self.tracker = Tracker(
            self.folders.metrics,
            self.folders.log_path,
            rows,
            splits=[name for name in summary.SPLITS if getattr(self.splits, name)],
            knobs=presets.telling_knobs(self.config),
            description=summary.markdown(self.config, self.description),
        )
        self._cleanup.callback(self.tracker.close)
        self.pictures = Pictures(
            self.folders.run_dir,
            self.splits,
            config=self.config,
            protocol=self.description["protocol"],
            prior_is_standard=self.learner.model.has_closed_form_kl,
        )

    def close(self) -> None:
        """Close the run's files and release its lock."""
        with self._naming_the_way_on():
            self._cleanup.close()

    def _state(self) -> dict[str, Any]:
        """Everything that resuming needs, as tensors and plain Python."""
        return {
            **self.learner.state(),
            "config": self.config.to_dict(),
            "fallback": self.splits.fallback,
            "places": self.relative_dirs,
            "shown": summary.captions(self.config, self.splits, self._likelihood),
        }

    def train(self) -> int:
        """Train to the last epoch. Returns the exit code: 0, or 130 / 143 if a signal stopped it."""
        if self.pictures:
            table = summary.header(self.config, self.splits, self.description, self.folders.run_dir, self.learner.epoch)
            self.console.table("VAE: loss = recon + KL in nats per image, lower is better; * the lowest so far", table)
        with Stopper() as stopper, self._naming_the_way_on():
            try:
                self._train_epochs(stopper)
                if self.pictures:
                    finish(self.learner, self.folders, self.tracker, self.pictures, console=self.console)
                elif self.config.final_eval:
                    evaluate_fully(self.learner, protocol="", console=self.console)
            except Stopped as stopped:
                self.console.close_bar()
                if self.pictures:
                    self._say_stopped(f"stopped by {stopped}")
                return 128 + stopped.signal_number
            finally:
                self.console.close_bar()
        return 0

    @contextmanager
    def _naming_the_way_on(self) -> Iterator[None]:
        """Say how this run goes on where a file can't be written, such as on a full disk, or a process was lost."""
        try:
            yield
        except ProcessLostError as error:
            if not self.pictures:
                raise
            raise ProcessLostError(f"{error}; continue with  {self.folders.resume_command}") from None
        except FileError as error:
            if not self.pictures or not self.folders.last.exists():
                raise
            raise FileError(f"{error}; once there is room, continue with  {self.folders.resume_command}") from None

    def _say_stopped(self, why: str) -> None:
        """Say where the run stands and how it goes on, on the screen and in its folder."""
        reached = f"{why} after epoch {self.learner.epoch} of {self.config.num_epochs}"
        self.console.table(
            reached, [("saved", short_path(self.folders.last)), ("continue", self.folders.resume_command)]
        )
        text = f"{reached}; in {Path.cwd()}, continue with\n  {self.folders.resume_command}\n"
        write_atomic(self.folders.stopped, lambda stream: stream.write(text.encode(errors="replace")))

    def _train_epochs(self, stopper: Stopper) -> None:
        images, num_epochs = len(self.splits.train), self.config.num_epochs

        def on_batch(count: int) -> None:
            self.console.advance(count)
            if self.processes.world_size == 1:  # several processes stop together, after an epoch
                raise_if_stopped()

        self.console.start_bar(num_epochs * images, self.learner.epoch * images, whole="the run")
        gc.freeze()  # garbage collection skips what exists by now, which saves milliseconds each time
        self._cleanup.callback(gc.unfreeze)
        while self.learner.epoch < num_epochs:
            if self.learner.epoch and self.learner.to_compile:
                self._compile()
            self.console.title_bar(f"epoch {self.learner.epoch + 1}/{num_epochs}:")
            row = self.learner.learn(on_batch)
            if self.pictures:
                is_best = summary.is_best(row, self.tracker.rows)
                self._save_epoch(row, self.pictures, is_best=is_best)
                self.console.say_fitting(summary.epoch_lines(row, num_epochs, is_best=is_best))
                self._note_slowness(row["seconds"])
            self._stop_together(stopper)

    def _compile(self) -> None:
        """Compile the training step: after the first epoch, when a person has seen that training works."""
        self.console.status("compiling the training step")
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
        """Raise `Stopped` in all processes if any of them has received a signal."""
        received = torch.tensor([stopper.received == number for number in stopper.SIGNALS]).int()
        for number, count in zip(stopper.SIGNALS, self.processes.all_reduce(received).tolist(), strict=True):
            if count:
                raise Stopped(number)

    def _note_slowness(self, seconds: float) -> None:
        """Say when an epoch takes several times as long as the fastest before it, and what helps."""
        samples = phase(self.config, self.learner.epoch).num_samples
        fastest = self._fastest.get(samples, seconds)
        if seconds > SLOW * fastest and seconds > fastest + 1:
            cause = "other programs may be using the processor"
            line = f"note: this epoch took {seconds:.1f} s, the fastest {fastest:.1f} s; {cause}."
            if self.device.type == "cpu" and torch.get_num_threads() > 1:
                run_dir = shlex.quote(short_path(self.folders.to_resume))
                line += f" If that stays so, Ctrl-C and --resume {run_dir} --threads 1 may help."
            self.console.say(line)
            fastest = seconds  # say so again only after faster epochs
        self._fastest[samples] = min(fastest, seconds)

    def _save_epoch(self, row: dict[str, Any], pictures: Pictures, *, is_best: bool) -> None:
        """Draw, log and save an epoch; the checkpoint comes last, so that all earlier files agree with it."""
        epoch, every = row["epoch"], self.config.sample_every
        if every and (epoch == 1 or epoch % every == 0 or epoch == self.config.num_epochs):
            for tag, sheet in pictures.draw_epoch(self.learner.eval_model, row).items():
                self.tracker.log_image(tag, sheet, epoch)
            gc.collect()  # figures contain reference cycles and take megabytes each
        self.tracker.log_epoch(row)
        state = self._state()
        if is_best and "val/loss" in row:
            checkpoint.save(self.folders.best, state)
        if self.config.checkpoint_every and epoch % self.config.checkpoint_every == 0:
            checkpoint.save(self.folders.checkpoints / f"epoch_{epoch:03d}.pt", state)
        checkpoint.save(self.folders.last, state)
