"""Numbers in, PNG out: scatter plots and training curves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from vae.plots.canvas import COLORS, DPI, INK, new_figure, save_figure, shortened, styled

SPLITS = {"train": ("#2f7fc9", "-"), "val": ("#832db6", "-."), "test": ("#d95d00", "--")}  # as in the report
EARLY = 10  # epochs: a longer run has a second row of panels, without its first tenth
LINE = 10.5  # points between the texts at the ends of curves, at least
SMALL_DPI = 75  # of a scatter that is rendered, not written
MAX_NAMED = 20  # classes: more names would hide the points
FEW = 10  # points for each class: fewer would be hidden by the names
MARKERS = "ox"  # of the first ten classes and of the next ten, which have the same colours
NAME, LEGEND = 16, 32  # letters of a class's name among the points and in the legend, at most


@styled
def draw_scatter(path: Path, points: np.ndarray, labels: np.ndarray, **options: Any) -> None:
    """Write `scatter_figure` as a PNG."""
    save_figure(scatter_figure(points, labels, **options), path)


@styled
def render_scatter(points: np.ndarray, labels: np.ndarray, **options: Any) -> np.ndarray:
    """`scatter_figure` as a small picture, (height, width, 3) uint8: a third of the time that writing it takes."""
    figure = scatter_figure(points, labels, **options)
    figure.set_dpi(SMALL_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def scatter_figure(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    title: str,
    subtitle: str,
    axis_labels: tuple[str, str],
    limit: float | None = None,
    circles: bool = False,
) -> Figure:
    """Points (N, 2) coloured by class, with a legend and each class's name at its median, on axes of equal scale.

    Labels (N,) are ignored where there are no class names. Both axes end at -limit and limit; `None` fits the points.
    `circles` marks one and two standard deviations of a standard normal prior.
    """
    legend = 0.5 + 0.085 * max((len(shortened(name, LEGEND)) for name in class_names[:MAX_NAMED]), default=0)
    figure = new_figure(6.3 + legend, 6.1, title, subtitle)
    axes = figure.add_subplot()
    size = float(np.clip(2e4 / max(len(points), 1), 3.0, 14.0))
    order = np.random.default_rng(0).permutation(len(points))  # so that no class lies on top of the others
    kinds = labels if class_names else np.zeros_like(labels)
    colors = np.array(COLORS)[kinds % len(COLORS)]
    for turn, marker in enumerate(MARKERS):
        part = order[kinds[order] // len(COLORS) % len(MARKERS) == turn]
        style: dict[str, Any] = {"s": size, "linewidths": 0 if marker == "o" else 0.8, "marker": marker}
        axes.scatter(points[part, 0], points[part, 1], c=colors[part], alpha=0.65, rasterized=True, **style)
    if circles:
        _draw_circles(axes)
    _make_square(axes, points, circles=circles, limit=limit)
    _name_classes(axes, points, labels, class_names)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def _draw_circles(axes: Axes) -> None:
    """Draw one and two standard deviations of a standard normal prior over the points, and say so above the frame."""
    halo: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white")]
    for radius in (1, 2):
        circle = Circle((0, 0), radius, fill=False, color=INK, linewidth=1, linestyle=(0, (5, 4)), zorder=3)
        circle.set_path_effects(halo)
        axes.add_patch(circle)
    axes.set_title("dashed: 1σ and 2σ of the prior", loc="right", fontsize=8)


def _make_square(axes: Axes, points: np.ndarray, *, circles: bool, limit: float | None) -> None:
    """Let both axes cover the same length: from -limit to limit or, with `None`, what is drawn."""
    if limit:
        low, high = np.full(2, -limit), np.full(2, limit)
    else:
        corners = np.concatenate([points, np.array([[-2, -2], [2, 2]])]) if circles else points
        low, high = corners.min(0), corners.max(0)
    middle, half = (low + high) / 2, (high - low).max() / 2 * (1 if limit else 1.04) or 1.0
    (left, bottom), (right, top) = middle - half, middle + half
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")


def _name_classes(axes: Axes, points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Put all classes into a legend and each one's name at its median, if it is in the frame; not too many names."""
    members = [labels == index for index in range(len(class_names))]
    medians = [np.median(points[member], axis=0) if member.any() else None for member in members]
    medians = [place if place is not None and axes.viewLim.contains(*place) else None for place in medians]
    is_named = len(class_names) <= MAX_NAMED and len(points) >= FEW * len(class_names)
    names = [shortened(name, NAME) for name in class_names]
    style: dict[str, Any] = {"fontsize": 11, "fontweight": "bold", "ha": "center", "va": "center", "parse_math": False}
    for index, (name, place) in enumerate(zip(names, _apart(axes, medians, names), strict=True)):
        color = COLORS[index % len(COLORS)]
        marker = MARKERS[index // len(COLORS) % len(MARKERS)]
        axes.scatter([], [], color=color, s=36, marker=marker, label=f" {shortened(class_names[index], LEGEND)}")
        if place is not None and is_named:
            box = {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": color, "linewidth": 1.8}
            axes.text(place[0], place[1], name, transform=axes.transAxes, bbox=box, **style)
    if 0 < len(class_names) <= MAX_NAMED:
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="class", handletextpad=0.2)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _apart(axes: Axes, places: Sequence[np.ndarray | None], names: Sequence[str]) -> list[np.ndarray | None]:
    """Where to put the names of points (2,) in the data, as fractions of the axes: within them, without overlap."""
    moved = [None if place is None else axes.transLimits.transform(place) for place in places]
    known = [i for i, place in enumerate(moved) if place is not None]
    taken = np.array([moved[i] for i in known]).reshape(-1, 2)
    half = np.array([(0.022 * len(names[i]) + 0.028, 0.055) for i in known]).reshape(-1, 2) / 2  # of each name's box
    for _ in range(50):
        for i, j in itertools.combinations(range(len(taken)), 2):
            offset = taken[j] - taken[i]
            overlap = half[i] + half[j] - np.abs(offset)
            if (overlap > 0).all():
                axis = overlap.argmin()  # the shorter way
                push = (1 if offset[axis] >= 0 else -1) * overlap[axis] / 2
                taken[i, axis] -= push
                taken[j, axis] += push
        taken = taken.clip(half, 1 - half)
    for place, index in zip(taken, known, strict=True):
        moved[index] = place
    return moved


@styled
def draw_loss_curves(path: Path, rows: Sequence[dict[str, Any]], *, title: str, subtitle: str) -> None:
    """Draw minus the ELBO, its reconstruction term and its KL over the epochs, a panel each, a line for each split.

    Below the panels of a longer run are those of its later epochs, whose axes its first epochs don't stretch.
    """
    parts = [list(rows), list(rows[len(rows) // EARLY :])] if len(rows) > EARLY else [list(rows)]
    figure = new_figure(10.5, 3.1 * len(parts), title, subtitle)
    names = {"elbo": "−ELBO = recon + KL", "recon": "reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}
    panels = figure.subplots(len(parts), len(names), squeeze=False)
    ends = []
    for part, row_of_panels in zip(parts, panels, strict=True):
        since = f", from epoch {part[0]['epoch']} on" if part[0] is not rows[0] else ""
        for axes, (term, name) in zip(row_of_panels, names.items(), strict=True):
            ends.append((axes, _draw_curves(axes, part, term)))
            axes.set_title(name + since, fontsize=10, loc="left")
    for axes in panels[:, 0]:
        axes.set_ylabel("nats per image")
    figure.draw_without_rendering()  # settles where the ends of the curves are
    for axes, texts in ends:
        _move_apart(axes, texts)
    save_figure(figure, path)


def _draw_curves(axes: Axes, rows: Sequence[dict[str, Any]], term: str) -> list[Annotation]:
    """Draw a term of every split over these epochs; returns the last values, written at the ends of the curves."""
    epochs, texts = [row["epoch"] for row in rows], []
    for split, (color, style) in SPLITS.items():
        if f"{split}/{term}" in rows[-1]:
            values = [(-1 if term == "elbo" else 1) * row[f"{split}/{term}"] for row in rows]
            axes.plot(epochs, values, style, color=color, linewidth=1.8, marker="o" if len(rows) == 1 else None)
            text = f"{split} {values[-1]:.2f}"
            style_of_text: dict[str, Any] = {"color": color, "fontsize": 8.5, "va": "center", "annotation_clip": False}
            place: dict[str, Any] = {"xy": (epochs[-1], values[-1]), "xytext": (5, 0), "textcoords": "offset points"}
            texts.append(axes.annotate(text, **place, **style_of_text))
    ticks = MaxNLocator(integer=True, nbins=6, min_n_ticks=1).tick_values(epochs[0], epochs[-1])
    room = (ticks[-1] - ticks[0]) / len(ticks) / 2  # between the first epoch and a tick
    axes.set(xlabel="epoch", xticks=[epochs[0], *(tick for tick in ticks if epochs[0] + room < tick <= epochs[-1])])
    axes.margins(x=0.02, y=0.06)
    axes.grid(True, linewidth=0.6)
    return texts


def _move_apart(axes: Axes, texts: Sequence[Annotation]) -> None:
    """Move texts at about the same height up or down until there is a line between any two, beside the axes."""
    ends = [72 / DPI * axes.transData.transform(text.xy)[1] for text in texts]
    order = np.argsort(ends)
    heights = np.array(ends)[order]
    low_end, high_end = 72 / DPI * axes.bbox.intervaly
    for _ in range(50):
        for low, high in itertools.pairwise(range(len(heights))):
            overlap = LINE - (heights[high] - heights[low])
            if overlap > 0:
                heights[low] -= overlap / 2
                heights[high] += overlap / 2
        heights = heights.clip(low_end + LINE / 2, high_end - LINE / 2)
    for index, height in zip(order, heights, strict=True):
        texts[index].xyann = (5, height - ends[index])
