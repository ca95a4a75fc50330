"""Write a run's metrics.jsonl and TensorBoard logs. No other file knows TensorBoard.

TensorBoard draws the same tag of several runs into one chart. So each split logs as a run of its own, in a folder
below the run's: `train`, `val` and `test` share the tags of what they have in common. Groups of tags are shown in
alphabetical order: losses, pictures, posterior, training.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from vae.data.pixels import resize, to_pixels
from vae.system.console import short_path
from vae.system.files import FileError, write_atomic

SPRITE = 8192  # pixels: TensorBoard's limit for the side of the picture that holds all thumbnails
PROJECTED = 3  # dimensions that the projector needs at least
HISTOGRAM = 5  # latents: of fewer, the KL of each makes no histogram
MINUS_ELBO = "losses/-elbo"  # sorted before the terms that it adds up from
TAGS = {
    "recon": "losses/recon",
    "kl": "losses/kl",
    "active_units": "posterior/active_units",
    "kl_per_dim": "posterior/kl_per_latent",
    "train/loss": "training/minimised_loss",  # with beta, free bits and the bound that was maximised
}


class Tracker:
    """Writes every figure to metrics.jsonl and to TensorBoard; it is on disk when a method returns.

    Args:
        metrics_path: metrics.jsonl.
        log_path: the run's folder of TensorBoard logs.
        rows: of a resumed run, the epochs recorded so far; anything after them is cut off, to be written again.
        splits: which of train, val and test are scored.
        knobs: what defines the run, for the HPARAMS table, whose figures are the test split's latest.
        description: Markdown, for TEXT.
    """

    def __init__(
        self,
        metrics_path: Path,
        log_path: Path,
        rows: list[dict[str, Any]],
        *,
        splits: Sequence[str],
        knobs: dict[str, Any],
        description: str,
    ) -> None:
        self.metrics_path, self.log_path, self.rows = metrics_path, log_path, rows
        write_atomic(metrics_path, lambda stream: stream.write("".join(map(_line, rows)).encode()))
        with _naming(log_path):
            unlogged = [] if (log_path / "test").exists() else rows  # this program once logged all into one folder
            self._log_hparams(knobs)
            # TensorBoard ignores earlier events from purge_step on, so that no epoch shows twice. It opens a relative
            # path even below a folder whose name is not Unicode.
            self._writers = {
                name: SummaryWriter(short_path(log_path / name), purge_step=len(rows) + 1, flush_secs=10)
                for name in ("", *splits)
            }
            self._writer = self._writers[""]
            text = description.encode("utf-8", "replace").decode()  # a folder may have a name that is not Unicode
            self._writer.add_text("configuration", text, len(rows))
            for row in unlogged:
                self._log_row(row)
            self._flush()

    def log_epoch(self, row: dict[str, Any]) -> None:
        """Log an epoch's figures."""
        self.rows.append(row)
        with _naming(self.metrics_path), self.metrics_path.open("a") as stream:
            stream.write(_line(row))
            stream.flush()
            os.fsync(stream.fileno())
        with _naming(self.log_path):
            self._log_row(row)
            self._flush()

    def _log_row(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            split, _, name = key.rpartition("/")
            if name == "elbo":
                self._writers[split].add_scalar(MINUS_ELBO, -value, row["epoch"])
            elif isinstance(value, list):
                if len(value) >= HISTOGRAM:
                    self._writers[split].add_histogram(TAGS[name], np.asarray(value), row["epoch"])
            elif key not in ("epoch", "val/loss", "test/loss"):  # these losses are minus the ELBO
                tag = TAGS.get(key) or TAGS.get(name) or f"training/{name}"
                self._writers[split or "train"].add_scalar(tag, value, row["epoch"])

    def log_image(self, tag: str, sheet: np.ndarray, epoch: int) -> None:
        """Log a picture, (height, width) or (height, width, 3) in [0, 1]."""
        with _naming(self.log_path):
            self._writer.add_image(f"pictures/{tag}", sheet, epoch, dataformats="HW" if sheet.ndim == 2 else "HWC")

    def log_embedding(self, points: Tensor, names: list[str], images: Tensor, epoch: int) -> None:
        """Log points (N, D) for the projector, with class names and thumbnails (N, C, H, W), uint8."""
        side = min(images.shape[-1], SPRITE // math.ceil(math.sqrt(len(images))))
        thumbnails = to_pixels(resize(images, side))
        points = torch.nn.functional.pad(points, (0, max(0, PROJECTED - points.shape[1])))
        with _naming(self.log_path):
            for older in self.log_path.glob("[0-9]" * 5):
                shutil.rmtree(older)
            self._writer.add_embedding(points, metadata=names, label_img=thumbnails, global_step=epoch, tag="mu")
            self._flush()

    def log_nll(self, nll: float) -> None:
        """Log the test split's importance-weighted negative log-likelihood, in nats per image."""
        with _naming(self.log_path):
            self._writers["test"].add_scalar("nll/importance_weighted", nll, self.rows[-1]["epoch"])
            self._flush()

    def _log_hparams(self, knobs: dict[str, Any]) -> None:
        """Log what defines the run, in place of what an earlier part of it logged: it may go on for longer.

        It is in a file that sorts before the split's other files, because TensorBoard reads on in the last one only.
        """
        test_dir, suffix = self.log_path / "test", ".hparams"
        for older in test_dir.glob(f"*{suffix}"):
            older.unlink()
        scalars = {
            name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in knobs.items()
        }
        _, session_start, _ = hparams(scalars, {})  # without the first, TensorBoard makes its columns from all runs
        with SummaryWriter(short_path(test_dir), filename_suffix=suffix) as writer:
            writer._get_file_writer().add_summary(session_start)

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Write what is left and close the files."""
        with _naming(self.log_path):
            for writer in self._writers.values():
                writer.close()


@contextmanager
def silent_writer_thread() -> Iterator[None]:
    """Print no traceback when TensorBoard's thread fails to write: the tracker's next call raises the error again."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not issubclass(failure.exc_type, OSError):
            before(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an OSError within the block into a `FileError` that names the path."""
    try:
        yield
    except OSError as error:
        raise FileError(f"can't write to {path}: {error.strerror or error}") from None
