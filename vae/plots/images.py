"""Tensors in, PNG out: grids of images, with headings.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from vae.plots.canvas import DPI, INK, new_figure, save_figure, shortened, styled
from vae.system.files import write_atomic

LETTER = 0.072  # inches that a letter of a heading takes
SLANTED = 18  # letters of a slanted heading, at most


def write_png(path: Path, image: Tensor) -> None:
    """Write an image (C, H, W) in [0, 1], one pixel each."""
    array = (_to_array(image[None])[0] * 255).round().astype(np.uint8)
    write_atomic(path, lambda stream: Image.fromarray(array).save(stream, format="png"))


def _too_long(headings: Sequence[str], inches: float) -> bool:
    """Whether headings over equal columns, so many inches wide in all, would run into each other."""
    letters = max((len(line) for text in headings for line in text.split("\n")), default=0)
    return len(headings) > 1 and letters * LETTER * len(headings) > inches


def _to_array(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [0, 1] to (N, H, W) or (N, H, W, 3)."""
    array = images.detach().float().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def tile(images: Tensor, columns: int, *, gap: int = 2, background: float = 1.0) -> np.ndarray:
    """Arrange images (N, C, H, W) row by row with `gap` pixels between: (height, width) or (height, width, 3)."""
    array = _to_array(images)
    height, width = array.shape[1:3]
    rows = math.ceil(len(array) / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *array.shape[3:])
    sheet = np.full(shape, background, dtype=np.float32)
    for position, image in enumerate(array):
        top, left = position // columns * (height + gap), position % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


@styled
def draw_grid(
    path: Path,
    images: Tensor,
    *,
    columns: int,
    title: str,
    subtitle: str,
    headings: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    gap: int = 2,
) -> None:
    """Draw images (N, C, H, W) in [0, 1] row by row, with headings over the columns and labels left of the rows."""
    sheet = tile(images, columns, gap=gap)
    width = max(3.6, min(8.0, 0.65 * columns * images.shape[-1] / images.shape[-2]))
    margin = 0.085 * max(map(len, row_labels), default=0)  # inches
    above = (1.0 if _too_long(headings, width) else 0.25) if headings else 0.0
    figure = new_figure(width + margin, width * sheet.shape[0] / sheet.shape[1] + above, title, subtitle)
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _only_headings(axes, sheet, headings)
    height = sheet.shape[0] / max(len(row_labels), 1)
    axes.set_yticks([height * (row + 0.5) for row in range(len(row_labels))], row_labels, parse_math=False)
    save_figure(figure, path)


@styled
def render_frames(images: Tensor, *, captions: Sequence[str], title: str, subtitle: str) -> list[np.ndarray]:
    """Frames of an animation, (height, width, 3) uint8: each of `images` (N, C, H, W) under its caption."""
    arrays = _to_array(images)
    figure = new_figure(3.6, 3.6 * images.shape[-2] / images.shape[-1] + 0.25, title, subtitle)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(arrays[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _only_headings(axes, arrays[0], [captions[0]])
    frames = []
    for array, caption in zip(arrays, captions, strict=True):
        picture.set_data(array)
        axes.set_xticklabels([caption])
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        figure.set_layout_engine("none")  # settled by the first frame
    return frames


def _only_headings(axes: Axes, sheet: np.ndarray, headings: Sequence[str]) -> None:
    """Remove ticks and frame; put `headings` over as many equal columns, slanted where they are too long."""
    width = sheet.shape[1] / max(len(headings), 1)
    slanted = _too_long(headings, axes.bbox.width / DPI)
    headings = [shortened(text, SLANTED) for text in headings] if slanted else headings
    axes.set_xticks([width * (column + 0.5) for column in range(len(headings))], headings)
    axes.set_yticks([])
    axes.tick_params(length=0, labelcolor=INK, labelsize=8.5, top=False, labeltop=True, labelbottom=False)
    for label in axes.get_xticklabels():  # those on top, visible only now
        label.set_parse_math(False)  # a class may be named $^$
        if slanted:
            label.set(rotation=40, ha="left", va="bottom", rotation_mode="anchor")
    axes.spines[:].set_visible(False)


@styled
def draw_comparison(
    path: Path, versions: Mapping[str, Tensor], *, columns: int, headings: Sequence[str], title: str, subtitle: str
) -> None:
    """Draw versions of the same images under each other, such as originals over their reconstructions.

    Args:
        path: the PNG to write.
        versions: by name, each (N, C, H, W) in [0, 1] and in the same order; C may differ, H and W may not.
        columns: number of images in a row.
        headings: over every image, or over those of the first row, or none.
    """
    colour = max(images.shape[1] for images in versions.values())
    same = [images.cpu().expand(-1, colour, -1, -1) for images in versions.values()]
    rows, aspect = math.ceil(len(same[0]) / columns), same[0].shape[-1] / same[0].shape[-2]
    lines = max((heading.count("\n") + 1 for heading in headings), default=1)
    margin = 0.085 * max(map(len, versions))  # inches
    above = (
        0.15 * (lines - 1)
        + 0.2 * (len(headings) > columns)
        + (0.9 if _too_long(headings[:columns], 0.8 * aspect * columns) else 0)
    )
    height = 0.81 * len(same) * rows + above * (rows if len(headings) > columns else 1)
    figure = new_figure(max(4.0, 0.8 * aspect * columns + margin), height, title, subtitle)
    for row, axes in enumerate(np.atleast_1d(figure.subplots(rows, 1))):
        here = slice(row * columns, (row + 1) * columns)
        gap = max(2, same[0].shape[-1] // 14)
        sheet = np.concatenate([tile(images[here], columns, gap=gap) for images in same])
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        texts = list(headings[here])
        _only_headings(axes, sheet, texts + [""] * (columns - len(texts)) if texts else [])
        step = sheet.shape[0] / len(same)
        axes.set_yticks([step * (index + 0.5) for index in range(len(same))], list(versions))
    save_figure(figure, path)


def draw_side_by_side(
    path: Path, versions: Mapping[str, Tensor], *, columns: int, title: str, subtitle: str, headings: Sequence[str] = ()
) -> None:
    """Draw versions of the same images beside each other, such as reconstructions right of their originals.

    The arguments are those of `draw_comparison`; `columns` counts images, all versions of which stand together.
    """
    colour = max(images.shape[1] for images in versions.values())
    beside = torch.cat([images.cpu().expand(-1, colour, -1, -1) for images in versions.values()], dim=3)
    draw_comparison(path, {"": beside}, columns=columns, headings=headings, title=title, subtitle=subtitle)


@styled
def draw_manifold(
    path: Path, panels: Sequence[Tensor], *, latents: Tensor, headings: Sequence[str], title: str, subtitle: str
) -> None:
    """Draw what a grid over two latents decodes to, a panel for each class of a conditional model.

    Args:
        path: the PNG to write.
        panels: each (n · n, C, H, W) in [0, 1]; first row at the highest z2, first column at the lowest z1.
        latents: (n, 2), the values of z1 and z2 of the columns and rows, rising.
        headings: one for each panel; empty for a single one.
    """
    columns = min(len(panels), 5)
    rows = math.ceil(len(panels) / columns)
    side = 7.0 if len(panels) == 1 else 2.6
    figure = new_figure(side * columns, (side - 0.3) * rows, title, subtitle)
    ticks = (0.025, 0.25, 0.5, 0.75, 0.975) if len(panels) == 1 else (0.025, 0.5, 0.975)
    for position, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if position >= len(panels):
            axes.set_axis_off()
            continue
        count = math.isqrt(len(panels[position]))
        sheet = tile(panels[position], count, gap=0)
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, extent=(0, count, 0, count), interpolation="nearest")
        places = [tick * count for tick in ticks]
        for set_ticks, values in zip((axes.set_xticks, axes.set_yticks), latents.cpu().T.numpy(), strict=True):
            numbers = np.interp(places, np.arange(count) + 0.5, values)
            set_ticks(places, [f"{round(number, 2) + 0.0:.2f}".replace("-", "−") for number in numbers])  # no −0.00
        axes.set(xlabel="z1", ylabel="z2")
        axes.spines[:].set_visible(False)
        if headings:
            axes.set_title(shortened(headings[position], 26), fontsize=10, parse_math=False)
    save_figure(figure, path)
