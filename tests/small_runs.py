"""Runs that take a second, and what tests read of them."""

import contextlib
import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vae.commands.sample
from main import main
from vae.plots import charts, images, pictures
from vae.system.files import write_atomic

ROOT = Path(__file__).parent.parent
MAIN = str(ROOT / "main.py")
QUICK = ["--dataset", "digits", "--tsne_samples", "60", "--batch_size", "256", "--hidden_dims", "32", "--device", "cpu"]

NUMBERS = itertools.count()


def save_blank(figure: Figure | None, stream, **options) -> None:
    """In `Figure.savefig`'s place: a valid PNG of one colour, another one each time, and no drawing."""
    number = next(NUMBERS)
    Image.new("RGB", (480, 360), (number * 37 % 256, number * 101 % 256, number // 7 % 256)).save(stream, format="png")


def draw_blank(path: Path, *args, **options) -> None:
    """In place of a function that draws: it builds no figure."""
    write_atomic(path, lambda stream: save_blank(None, stream))


def first_and_last(points: np.ndarray, *, seed: int) -> np.ndarray:
    """In t-SNE's place: a projection (N, 2) that takes no time."""
    return points[:, [0, -1]]


SAVING = [(Figure, "savefig", save_blank)]
DRAWING = [
    *((charts, name, draw_blank) for name in ("draw_scatter", "draw_loss_curves")),
    (charts, "render_scatter", lambda *args, **options: np.zeros((4, 4, 3), np.uint8)),
    *((images, name, draw_blank) for name in ("draw_grid", "draw_comparison", "draw_manifold")),
    (vae.commands.sample, "draw_grid", draw_blank),
    (pictures, "tsne", first_and_last),
]
REAL = {(owner, name): getattr(owner, name) for owner, name, _ in SAVING + DRAWING}


@contextlib.contextmanager
def replaced(functions):
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, function in functions:
            patch.setattr(owner, name, function)
        yield


def real_figures():
    """Build figures as a user's run does, and save them blank."""
    return replaced([(owner, name, REAL[owner, name]) for owner, name, _ in DRAWING])


def real_pictures():
    """Draw figures as a user's run does."""
    return replaced([(*place, function) for place, function in REAL.items()])


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file, written after its description and not with the reader under test."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def run_main(root: Path, *flags: str) -> int:
    """Train on the digits below `root`."""
    places = ["--output_dir", str(root / "outputs"), "--log_dir", str(root / "runs"), "--data_dir", str(root / "data")]
    return main([*QUICK, *places, *flags])


def two_processes(*flags: str, per_node: int = 2) -> None:
    """Run the program in this process and in another, with the environment that torchrun gives them.

    The sums of processes on one node, and those of processes on two, are the same only within rounding.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    address["LOCAL_WORLD_SIZE"] = str(per_node)
    environment = {**os.environ, **address, "RANK": "1", "LOCAL_RANK": str(per_node - 1), "OMP_NUM_THREADS": "1"}
    other = subprocess.Popen([sys.executable, MAIN, *flags], env=environment)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**address, "RANK": "0"}.items():
                patch.setenv(name, value)
            assert main([*flags]) == 0
        assert other.wait(240) == 0
    finally:
        other.kill()


def load_state(run_dir: Path, name: str = "last.pt") -> dict:
    return torch.load(run_dir / "checkpoints" / name, weights_only=True)


def assert_same_state(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def read_events(log_path: Path) -> EventAccumulator:
    """A run's TensorBoard events, from its files in the order in which they were written.

    TensorBoard sorts them by name: second, host, process and a counter, whose 10 comes before 9. Only tests write ten
    files within one second and one process.
    """

    def written(path):
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

    with tempfile.TemporaryDirectory() as ordered:
        for number, path in enumerate(sorted(log_path.glob("events.out.tfevents.*"), key=written)):
            shutil.copy(path, Path(ordered) / f"events.out.tfevents.{number:03d}")
        return EventAccumulator(ordered, size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
