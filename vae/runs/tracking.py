"""Write a run's metrics.jsonl and TensorBoard logs. No other file knows TensorBoard."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from vae.data.pixels import resize, to_pixels
from vae.system.console import short_path
from vae.system.files import FileError, write_atomic

SPRITE = 8192  # pixels: TensorBoard's limit for the side of the picture that holds all thumbnails


class Tracker:
    """Writes every figure to metrics.jsonl and to TensorBoard; it is on disk when a method returns.

    Of a resumed run, `rows` are the epochs recorded so far; anything after them is cut off, to be written again.
    """

    def __init__(self, metrics_path: Path, log_path: Path, rows: list[dict[str, Any]]) -> None:
        self.metrics_path, self.log_path, self.rows = metrics_path, log_path, rows
        write_atomic(metrics_path, lambda stream: stream.write("".join(map(_line, rows)).encode()))
        with _naming(log_path):
            # TensorBoard ignores earlier events from purge_step on, so that no epoch shows twice. It opens a relative
            # path even below a folder whose name is not Unicode.
            self._writer = SummaryWriter(short_path(log_path), purge_step=len(rows) + 1, flush_secs=10)

    def log_epoch(self, row: dict[str, Any]) -> None:
        """Log an epoch's figures; each key but `epoch` is a tag: of a histogram for a list, or else of a scalar."""
        self.rows.append(row)
        with _naming(self.metrics_path), self.metrics_path.open("a") as stream:
            stream.write(_line(row))
            stream.flush()
            os.fsync(stream.fileno())
        with _naming(self.log_path):
            for tag, value in row.items():
                if isinstance(value, list):
                    self._writer.add_histogram(tag, np.asarray(value), row["epoch"])
                elif tag != "epoch":
                    self._writer.add_scalar(tag, value, row["epoch"])
            self._writer.flush()

    def log_image(self, tag: str, sheet: np.ndarray, epoch: int) -> None:
        """Log a picture, (height, width) or (height, width, 3) in [0, 1]."""
        with _naming(self.log_path):
            self._writer.add_image(tag, sheet, epoch, dataformats="HW" if sheet.ndim == 2 else "HWC")

    def log_embedding(self, points: Tensor, names: list[str], images: Tensor, epoch: int) -> None:
        """Log points (N, D) for the projector, with class names and thumbnails (N, C, H, W), uint8."""
        side = min(images.shape[-1], SPRITE // math.ceil(math.sqrt(len(images))))
        thumbnails = to_pixels(resize(images, side))
        with _naming(self.log_path):
            for older in self.log_path.glob("[0-9]" * 5):
                shutil.rmtree(older)
            self._writer.add_embedding(points, metadata=names, label_img=thumbnails, global_step=epoch, tag="mu")
            self._writer.flush()

    def log_hparams(self, knobs: dict[str, Any], metrics: dict[str, float]) -> None:
        """Log what defines the run and its closing figures, for TensorBoard's HPARAMS table."""
        scalars = {
            name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in knobs.items()
        }
        with _naming(self.log_path):
            for summary in hparams(scalars, metrics):  # SummaryWriter.add_hparams would make a second run of them
                self._writer._get_file_writer().add_summary(summary)
            for tag in metrics.keys() - self.rows[-1].keys():  # the table reads its figures from scalars
                self._writer.add_scalar(tag, metrics[tag], self.rows[-1]["epoch"])
            self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the files."""
        with _naming(self.log_path):
            self._writer.close()


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
