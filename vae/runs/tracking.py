"""The record of a run: metrics.jsonl and TensorBoard. The only file that knows TensorBoard."""

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
from vae.system.files import FileError, write_atomic

TERMS = ("loss", "recon", "kl", "elbo")

SPRITE = 8192  # pixels: TensorBoard's limit for the picture that holds all thumbnails
LARGEST = 1e300  # of a figure; a whole number in JSON may be any


def read_metrics(path: Path, last_epoch: int) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl up to `last_epoch`; later ones, or half of one, are what a killed run left.

    Raises:
        FileError: an earlier row is missing or damaged.
    """
    rows: list[dict[str, Any]] = []
    try:
        for line in path.read_text().splitlines() if last_epoch else []:
            if len(rows) == last_epoch:
                break
            rows.append(json.loads(line))
    except OSError as error:
        raise FileError(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):  # bad JSON, bad UTF-8, or lists in lists without end
        raise FileError(f"{path}: line {len(rows) + 1} is damaged") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or row.get("epoch") != number or not _is_sound(row, rows[0]):
            raise FileError(f"{path}: line {number} is damaged")
    if len(rows) != last_epoch:
        raise FileError(f"{path} doesn't hold epochs 1 to {last_epoch}, which the checkpoint has seen")
    return rows


def _is_sound(row: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether a row has what the first one has, all that every epoch records, and nothing but finite numbers."""
    numbers = [part for value in row.values() for part in (value if isinstance(value, list) else [value])]
    kinds = {name: type(value) is list for name, value in row.items()}
    splits = ("train", "test", *(("val",) if "val/loss" in row else ()))
    recorded = {f"{split}/{name}" for split in splits for name in TERMS} | {"seconds", "images_per_second"}
    recorded |= {f"{split}/{name}" for split in splits[1:] for name in ("active_units", "kl_per_dim")}
    sound = recorded <= row.keys() and kinds == {name: type(value) is list for name, value in first.items()}
    sound = sound and all(kinds[name] == name.endswith("/kl_per_dim") for name in kinds)
    return sound and all(type(part) in (int, float) and abs(part) < LARGEST for part in numbers)


def _in_unicode(path: Path) -> str:
    """A path for TensorBoard, which opens none that is not Unicode: from here, if what leads here is at fault."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.path.relpath(path)
    return str(path)


class Tracker:
    """Writes each epoch once to both records. Everything is on disk when a method returns.

    Args:
        metrics_path: the run's metrics.jsonl.
        log_path: the run's TensorBoard folder.
        rows: the epochs already recorded; what lies beyond them is cut off, as a resumed run writes it anew.
    """

    def __init__(self, metrics_path: Path, log_path: Path, rows: list[dict[str, Any]]) -> None:
        self.metrics_path, self.log_path, self.rows = metrics_path, log_path, rows
        write_atomic(metrics_path, lambda stream: stream.write("".join(map(_line, rows)).encode()))
        threading.excepthook = _thread_hook
        with _told(log_path):
            # Events from purge_step on are void: TensorBoard shows no epoch twice.
            self._writer = SummaryWriter(_in_unicode(log_path), purge_step=len(rows) + 1, flush_secs=10)

    def log_epoch(self, row: dict[str, Any]) -> None:
        """Record an epoch's figures; every key but `epoch` is a tag, of a scalar or, for a list, of a histogram."""
        self.rows.append(row)
        with _told(self.metrics_path), self.metrics_path.open("a") as stream:
            stream.write(_line(row))
            stream.flush()
            os.fsync(stream.fileno())
        with _told(self.log_path):
            for tag, value in row.items():
                if isinstance(value, list):
                    self._writer.add_histogram(tag, np.asarray(value), row["epoch"])
                elif tag != "epoch":
                    self._writer.add_scalar(tag, value, row["epoch"])
            self._writer.flush()

    def log_image(self, tag: str, sheet: np.ndarray, epoch: int) -> None:
        """Record a picture, (height, width) or (height, width, 3) in [0, 1]."""
        with _told(self.log_path):
            self._writer.add_image(tag, sheet, epoch, dataformats="HW" if sheet.ndim == 2 else "HWC")

    def log_embedding(self, points: Tensor, names: list[str], images: Tensor, epoch: int) -> None:
        """Record points (N, D) for the projector, with class names and thumbnails (N, C, H, W), uint8."""
        side = min(images.shape[-1], SPRITE // math.ceil(math.sqrt(len(images))))
        thumbnails = to_pixels(resize(images, side))
        with _told(self.log_path):
            for older in self.log_path.glob("[0-9]" * 5):
                shutil.rmtree(older)
            self._writer.add_embedding(points, metadata=names, label_img=thumbnails, global_step=epoch, tag="mu")
            self._writer.flush()

    def log_hparams(self, knobs: dict[str, Any], metrics: dict[str, float]) -> None:
        """Record what defines the run and what came of it, for TensorBoard's HPARAMS table."""
        plain = {
            name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in knobs.items()
        }
        with _told(self.log_path):
            for summary in hparams(plain, metrics):  # add_hparams would open a second run for them
                self._writer._get_file_writer().add_summary(summary)
            for tag in metrics.keys() - self.rows[-1].keys():  # the table reads its figures from scalars
                self._writer.add_scalar(tag, metrics[tag], self.rows[-1]["epoch"])
            self._writer.flush()

    def close(self) -> None:
        """Flush and let go."""
        with _told(self.log_path):
            self._writer.close()


def _thread_hook(failed: threading.ExceptHookArgs) -> None:
    """Leave a writer thread's failed write unprinted: TensorBoard raises it again from our next call."""
    if not issubclass(failed.exc_type, OSError):
        threading.__excepthook__(failed)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"can't write to {path}: {error.strerror or error}") from None
