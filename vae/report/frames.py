"""The epochs to scrub through in the report: each with its samples and the places of some test images.

Shapes: F epochs, M test images, N samples, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vae.data.splits import Splits
from vae.model.vae import VAE
from vae.plots.snapshots import Snapshot, read_snapshot, snapshots_of
from vae.report.latents import plane, square
from vae.report.nets import blob
from vae.report.page import as_data_address, thinned
from vae.system.errors import plain
from vae.system.files import FileError

MAX_FRAMES = 24
MAX_BYTES = 375_000  # of sheets and places: 0.5 MB as base64
SIZES = ((24, 8), (24, 6), (16, 6), (12, 6), (12, 4), (6, 4), (2, 2))  # epochs, and rows of samples: the first that fit
LEVELS, COLORS = 16, 64  # of grey images, and of others


def describe(
    run_dir: Path, model: VAE, splits: Splits, mu: Tensor, rows: list[dict[str, Any]]
) -> tuple[dict[str, Any] | None, list[str]]:
    """The epochs as plain values for JSON, or `None` if fewer than two were kept; and the names of damaged files.

    Args:
        run_dir: the run's folder.
        model: what the run has ended with.
        splits: the data; the test split's first images are those whose means were kept.
        mu: the posterior means of the test split, (N, D).
        rows: the lines of metrics.jsonl, one an epoch: what was kept of later epochs is left out.
    """
    snapshots, damaged = _read(run_dir, model, len(splits.test), last_epoch=len(rows))
    if len(snapshots) < 2:
        return None, damaged
    room = 0.0  # bytes that a value takes on a sheet
    for count, height in SIZES:
        epochs = thinned(list(snapshots), count)
        kept = [snapshots[epoch] for epoch in epochs]
        grid = _grid(kept, height, is_square=not model.num_classes)
        if room * grid.size > 1.5 * MAX_BYTES:  # a sheet of colours takes seconds
            continue
        sheet, layout = _sheet(grid)
        room = len(sheet) / grid.size
        images = len(kept[0].mu)
        if len(sheet) + 4 * images * len(kept) <= MAX_BYTES:
            break
    else:
        return None, damaged
    centre, axes, titles = plane(mu.float().cpu())
    places = torch.stack([_project(torch.tensor(frame.mu).float(), centre, axes) for frame in kept])  # (F, M, 2)
    corner, side = square(places.flatten(0, 1))
    return (
        {
            "epochs": epochs,
            "losses": [-rows[epoch - 1]["test/elbo"] for epoch in epochs],
            "sheet": as_data_address(sheet),
            **layout,
            "places": blob(((places - corner) / side).clamp(0, 1).mul(65535).round(), "uint16"),
            "left": corner[0].item(),
            "bottom": corner[1].item(),
            "side": side,
            "titles": [title.partition(",")[0] for title in titles],  # short, for a small map
            "labels": blob(splits.test.labels[:images], "uint16"),
            "classes": [plain(name) for name in splits.class_names],
        },
        damaged,
    )


def _read(run_dir: Path, model: VAE, images: int, *, last_epoch: int) -> tuple[dict[int, Snapshot], list[str]]:
    """At most MAX_FRAMES of a run's snapshots by epoch, evenly spaced, of one shape; and the names of those unread."""
    paths = [(epoch, path) for epoch, path in snapshots_of(run_dir).items() if 0 < epoch <= last_epoch]
    frames: dict[int, Snapshot] = {}
    damaged = []
    for epoch, path in reversed(thinned(paths, MAX_FRAMES)):
        try:
            frame = read_snapshot(path)
        except FileError:
            damaged.append(path.name)
            continue
        is_of_model = frame.samples.shape[1] == model.image_shape[0] and frame.mu.shape[1] == model.latent_dim
        last = next(iter(frames.values()), frame)
        if is_of_model and 1 < len(frame.mu) <= images and _layout(frame) == _layout(last):
            frames[epoch] = frame
        else:
            damaged.append(path.name)
    return dict(sorted(frames.items())), sorted(damaged)


def _layout(frame: Snapshot) -> tuple[object, ...]:
    return frame.samples.shape, frame.mu.shape, frame.columns


def _grid(frames: list[Snapshot], height: int, *, is_square: bool) -> np.ndarray:
    """The samples of all epochs that a sheet shows, (F, rows, columns, C, H, W).

    Args:
        frames: of one shape.
        height: rows of samples, at most.
        is_square: whether columns are left out as rows are; they are classes where they are not.
    """
    columns = frames[0].columns
    grids = [frame.samples.reshape(-1, columns, *frame.samples.shape[1:]) for frame in frames]
    return np.stack(grids)[:, :height, : min(height, columns) if is_square else columns]


def _sheet(grid: np.ndarray) -> tuple[bytes, dict[str, int]]:
    """A grid as one PNG, an epoch below the other; and the layout of an epoch."""
    _, rows, columns, channels, h, w = grid.shape
    pixels = grid.transpose(0, 1, 4, 2, 5, 3).reshape(-1, columns * w, channels)
    if channels == 1:
        picture = Image.fromarray(
            ((pixels[..., 0].astype(np.uint16) * (LEVELS - 1) + 127) // 255).astype(np.uint8), "P"
        )
        picture.putpalette([level * 255 // (LEVELS - 1) for level in range(LEVELS) for _ in range(3)])
    else:
        picture = Image.fromarray(pixels).quantize(COLORS, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return stream.getvalue(), {"rows": rows, "columns": columns, "width": columns * w, "height": rows * h}


def _project(mu: Tensor, centre: Tensor, axes: Tensor) -> Tensor:
    """Places (M, 2) of means (M, D) on a plane; those on a line are spread evenly across it."""
    places = (mu - centre) @ axes.T
    return torch.column_stack([places, torch.linspace(-2, 2, len(mu))]) if len(axes) == 1 else places
