"""Numbers in, PNG out: scatter plots and training curves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vae.plots.canvas import COLORS, new_figure, save_figure, shortened, styled

MAX_NAMED = 20  # classes: more names would hide the points
NAME, LEGEND = 16, 32  # letters of a class's name among the points and in the legend, at most


@styled
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
    """Draw points (N, 2) coloured by class, with a legend and each class's name at its median.

    Labels (N,) are ignored where there are no class names. Both axes end at -limit and limit; `None` fits the points.
    """
    figure = new_figure(7.2, 6.2, title, subtitle)
    axes = figure.add_subplot()
    size = float(np.clip(2e4 / max(len(points), 1), 3.0, 14.0))
    order = np.random.default_rng(0).permutation(len(points))  # so that no class lies on top of the others
    colors = np.array(COLORS)[labels % len(COLORS)] if class_names else np.full(len(points), COLORS[0])
    axes.scatter(points[order, 0], points[order, 1], c=colors[order], s=size, alpha=0.65, linewidths=0, rasterized=True)
    axes.autoscale_view()
    if limit:
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    _name_classes(axes, points, labels, class_names)
    axes.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    save_figure(figure, path)


def _name_classes(axes: Axes, points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Put each class's name at its median and all of them into a legend, unless there are too many."""
    members = [labels == index for index in range(len(class_names))]
    medians = [np.median(points[member], axis=0) if member.any() else None for member in members]
    names = [shortened(name, NAME) for name in class_names]
    style: dict[str, Any] = {"fontsize": 11, "fontweight": "bold", "ha": "center", "va": "center", "parse_math": False}
    for index, (name, place) in enumerate(zip(names, _apart(axes, medians, names), strict=True)):
        color = COLORS[index % len(COLORS)]
        axes.scatter([], [], color=color, s=36, label=f" {shortened(class_names[index], LEGEND)}")
        if place is not None and len(class_names) <= MAX_NAMED:
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
    """Draw minus the ELBO, its reconstruction term and its KL over the epochs, a panel each, a line for each split."""
    figure = new_figure(10.5, 3.4, title, subtitle)
    epochs = [row["epoch"] for row in rows]
    names = {"elbo": "−ELBO = recon + KL", "recon": "reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}
    for axes, (term, name) in zip(figure.subplots(1, 3), names.items(), strict=True):
        sign = -1 if term == "elbo" else 1
        late = []  # without the first epochs, which would flatten the rest
        for split, color, style in (("train", "#3f90da", "-"), ("val", "#832db6", "-."), ("test", "#e76300", "--")):
            if f"{split}/{term}" in rows[-1]:
                values = [sign * row[f"{split}/{term}"] for row in rows]
                late += values[len(rows) // 10 :]
                marker = "o" if len(rows) == 1 else None
                axes.plot(epochs, values, style, color=color, linewidth=1.8, label=split, marker=marker)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set(xlabel="epoch", ylabel="nats per image")
        margin = 0.06 * (max(late) - min(late)) or 1.0
        axes.set_ylim(min(late) - margin, max(late) + margin)
        axes.set_xlim(min(epochs) - 0.4, max(epochs) + 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        axes.grid(True, linewidth=0.6)
        axes.legend()
    save_figure(figure, path)
