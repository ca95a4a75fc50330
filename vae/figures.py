"""Tensors in, PNG out. The only file that knows matplotlib.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import functools
import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vae.files import write_atomic

DPI = 160
MAX_NAMED = 20  # classes: more names than that hide what they name
LONGEST_NAME = 24  # letters of a class's name: a longer one leaves the points no room
INK, FAINT = "#1f2430", "#6b7280"
# Petroff's ten colours (arXiv:2107.02270), chosen to be told apart with every common colour vision deficiency, the
# darker grey taken to near black; in an order that sets digits that lie close together (3 5 8, 4 7 9) well apart.
COLORS = (
    *("#1f2430", "#b9ac70", "#e76300", "#bd1f01", "#832db6"),
    *("#3f90da", "#a96b59", "#ffa90e", "#94a4a2", "#92dadd"),
)
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": "#e5e7eb",
    "legend.frameon": False,
}
P = ParamSpec("P")
R = TypeVar("R")


def _styled(draw: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def _new(width: float, height: float, title: str, subtitle: str) -> Figure:
    """A figure of the given inches, and above it a strip with title and subtitle, left-aligned and wrapped to fit."""
    titles = textwrap.wrap(title, int(width / 0.115))
    subtitles = textwrap.wrap(subtitle, int(width / 0.072))
    strip = 0.24 + 0.2 * len(titles) + 0.17 * len(subtitles)
    total = height + strip
    engine = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - strip / total))
    figure = Figure(figsize=(width, total), dpi=DPI, layout=engine)
    left, below = 0.12 / width, 0.16 + 0.2 * len(titles)
    common: dict[str, Any] = {"x": left, "va": "top", "parse_math": False, "linespacing": 1.25}
    figure.text(y=1 - 0.1 / total, s="\n".join(titles), fontsize=12, fontweight="bold", **common)
    figure.text(y=1 - below / total, s="\n".join(subtitles), fontsize=8.5, color=FAINT, **common)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a class name may be in any script
        write_atomic(path, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))


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


@_styled
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
    """Images (N, C, H, W) in [0, 1] row by row, with what is given over each column and left of each row."""
    sheet = tile(images, columns, gap=gap)
    width = max(3.6, min(8.0, 0.65 * columns * images.shape[-1] / images.shape[-2]))
    margin = 0.085 * max(map(len, row_labels), default=0)  # inches
    above = 0.25 if headings else 0.0
    figure = _new(width + margin, width * sheet.shape[0] / sheet.shape[1] + above, title, subtitle)
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _only_headings(axes, sheet, headings)
    height = sheet.shape[0] / max(len(row_labels), 1)
    axes.set_yticks([height * (row + 0.5) for row in range(len(row_labels))], row_labels)
    _save(figure, path)


@_styled
def render_frames(
    images: Tensor, *, captions: Sequence[str], title: str, subtitle: str, width: float = 3.6
) -> list[np.ndarray]:
    """An animation's frames, (height, width, 3) uint8: each an image of `images` (N, C, H, W) under its caption."""
    arrays = _to_array(images)
    figure = _new(width, width * images.shape[-2] / images.shape[-1] + 0.25, title, subtitle)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = axes.imshow(arrays[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _only_headings(axes, arrays[0], [captions[0]])
    frames = []
    for array, caption in zip(arrays, captions, strict=True):
        shown.set_data(array)
        axes.set_xticklabels([caption])
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        figure.set_layout_engine("none")  # the first frame has settled it
    return frames


def _only_headings(axes: Axes, sheet: np.ndarray, headings: Sequence[str]) -> None:
    """Take ticks and frame away; put `headings` over as many equal columns."""
    width = sheet.shape[1] / max(len(headings), 1)
    axes.set_xticks([width * (column + 0.5) for column in range(len(headings))], headings)
    axes.set_yticks([])
    for label in axes.get_xticklabels():
        label.set_parse_math(False)  # a class may be named $^$
    axes.tick_params(length=0, labelcolor=INK, labelsize=8.5, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


@_styled
def draw_comparison(
    path: Path,
    versions: Mapping[str, Tensor],
    *,
    columns: int,
    headings: Sequence[str],
    title: str,
    subtitle: str,
) -> None:
    """Versions of the same images under each other, such as originals over their reconstructions.

    Args:
        path: the PNG to write.
        versions: by name, each (N, C, H, W) in [0, 1] and in the same order; C may differ, H and W may not.
        columns: images in a row.
        headings: one over each image, or over each of the first row only, or none.
        title: what is shown.
        subtitle: data, epoch and protocol.
    """
    colour = max(images.shape[1] for images in versions.values())
    same = [images.cpu().expand(-1, colour, -1, -1) for images in versions.values()]
    rows = math.ceil(len(same[0]) / columns)
    lines = max((heading.count("\n") + 1 for heading in headings), default=1)
    margin = 0.085 * max(map(len, versions))  # inches
    figure = _new(max(4.0, 0.8 * columns + margin), rows * (0.81 * len(same) + 0.15 * (lines - 1)), title, subtitle)
    for row, axes in enumerate(np.atleast_1d(figure.subplots(rows, 1))):
        here = slice(row * columns, (row + 1) * columns)
        gap = max(2, same[0].shape[-1] // 14)
        sheet = np.concatenate([tile(_filled(images[here], columns), columns, gap=gap) for images in same])
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        above = list(headings[here])
        _only_headings(axes, sheet, above + [""] * (columns - len(above)) if above else [])
        height = sheet.shape[0] / len(same)
        axes.set_yticks([height * (place + 0.5) for place in range(len(same))], list(versions))
    _save(figure, path)


def _filled(images: Tensor, count: int) -> Tensor:
    """With white images after the last, `count` in all."""
    return torch.cat([images, torch.ones(count - len(images), *images.shape[1:])])


@_styled
def draw_scatter(
    path: Path,
    points: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
    axis_labels: tuple[str, str],
    limit: float | None = None,
) -> None:
    """Points (N, 2) coloured by class, with a legend and each class's name at its median; grey where unlabelled.

    Both axes go from -limit to limit where there is one, so that the frames of an animation agree.
    """
    figure = _new(7.2, 6.2, title, subtitle)
    axes = figure.add_subplot()
    size = float(np.clip(2e4 / max(len(points), 1), 3.0, 14.0))
    order = np.random.default_rng(0).permutation(len(points))  # so that no class lies on top of the others
    colors = np.array(COLORS)[labels % len(COLORS)] if class_names else np.full(len(points), COLORS[0])
    axes.scatter(points[order, 0], points[order, 1], c=colors[order], s=size, alpha=0.65, linewidths=0, rasterized=True)
    axes.autoscale_view()
    if limit:
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    medians = [
        np.median(points[labels == index], axis=0) if (labels == index).any() else None
        for index in range(len(class_names))
    ]
    names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in class_names]
    for index, (name, place) in enumerate(zip(names, _apart(axes, medians), strict=True)):
        color = COLORS[index % len(COLORS)]
        axes.scatter([], [], color=color, s=36, label=f" {name}")
        if place is not None and len(class_names) <= MAX_NAMED:
            box = {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": color, "linewidth": 1.8}
            axes.text(
                place[0],
                place[1],
                name,
                parse_math=False,
                fontsize=11,
                fontweight="bold",
                ha="center",
                va="center",
                bbox=box,
            )
    if 0 < len(class_names) <= MAX_NAMED:
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="class", handletextpad=0.2)
        for text in legend.get_texts():
            text.set_parse_math(False)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    _save(figure, path)


def _apart(axes: Axes, places: Sequence[np.ndarray | None], distance: float = 0.055) -> list[np.ndarray | None]:
    """Push places (2,) that lie closer than `distance`, a fraction of the axes, away from each other."""
    spans = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())])
    moved = [None if place is None else place / spans for place in places]
    taken = [place for place in moved if place is not None]
    for _ in range(50):
        for i, first in enumerate(taken):
            for second in taken[i + 1 :]:
                offset = second - first
                length = float(np.hypot(*offset))
                if length < distance:
                    push = (offset / length if length else np.array([0.0, 1.0])) * (distance - length) / 2
                    first -= push
                    second += push
    return [None if place is None else place * spans for place in moved]


@_styled
def draw_manifold(
    path: Path, panels: Sequence[Tensor], *, latents: Tensor, headings: Sequence[str], title: str, subtitle: str
) -> None:
    """What every place of a two-dimensional latent space decodes to, a panel for each class of a conditional model.

    Args:
        path: the PNG to write.
        panels: each (n · n, C, H, W) in [0, 1]; first row at the highest z2, first column at the lowest z1.
        latents: (n, 2), the values of z1 and z2 that the columns and rows stand at, rising.
        headings: one a panel; empty for a single one.
        title: what is shown.
        subtitle: data, epoch and protocol.
    """
    columns = min(len(panels), 5)
    rows = math.ceil(len(panels) / columns)
    side = 7.0 if len(panels) == 1 else 2.6
    figure = _new(side * columns, (side - 0.3) * rows, title, subtitle)
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
            found = np.interp(places, np.arange(count) + 0.5, values)
            set_ticks(places, [f"{value:.2f}".replace("-", "−") for value in found])
        axes.set(xlabel="z1", ylabel="z2")
        axes.spines[:].set_visible(False)
        if headings:
            axes.set_title(headings[position], fontsize=10, parse_math=False)
    _save(figure, path)


@_styled
def draw_loss_curves(path: Path, rows: Sequence[dict[str, Any]], *, title: str, subtitle: str) -> None:
    """Minus the ELBO, its reconstruction term and its KL over the epochs, a panel each, one line a split."""
    figure = _new(10.5, 3.4, title, subtitle)
    epochs = [row["epoch"] for row in rows]
    names = {"elbo": "−ELBO = recon + KL", "recon": "reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}
    for axes, (term, name) in zip(figure.subplots(1, 3), names.items(), strict=True):
        sign = -1 if term == "elbo" else 1
        for split, color, style in (("train", "#3f90da", "-"), ("val", "#832db6", "-."), ("test", "#e76300", "--")):
            if f"{split}/{term}" in rows[-1]:
                values = [sign * row[f"{split}/{term}"] for row in rows]
                marker = "o" if len(rows) == 1 else None
                axes.plot(epochs, values, style, color=color, linewidth=1.8, label=split, marker=marker)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set(xlabel="epoch", ylabel="nats per image")
        late = [
            sign * row[f"{split}/{term}"]
            for split in ("train", "val", "test")
            for row in rows[len(rows) // 10 :]
            if f"{split}/{term}" in row
        ]  # the first epochs would flatten all that follows
        margin = 0.06 * (max(late) - min(late)) or 1.0
        axes.set_ylim(min(late) - margin, max(late) + margin)
        axes.set_xlim(min(epochs) - 0.4, max(epochs) + 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        axes.grid(True, linewidth=0.6)
        axes.legend()
    _save(figure, path)
