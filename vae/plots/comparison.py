"""Several runs in one picture: their curves over each other, their samples beside each other.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vae.plots.canvas import COLORS, FAINT, new_figure, save_figure, shortened, styled
from vae.plots.images import tile
from vae.system.columns import middle_cut

LINE_COLORS = tuple(COLORS[index] for index in (5, 2, 4, 3, 0, 7, 6, 8, 1, 9))  # as in report.css, the strongest first
DASHES = (("-", ":"), ("--", (0, (1, 4))), ("-.", (0, (1, 7))))  # of test and train, for each ten curves
TITLES = {"loss": "−ELBO = recon + KL", "recon": "reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}
BLOCKS, SIDE = 4, 6  # blocks of samples beside each other, and images along each side of one
LABEL = 34  # letters of a run's name in a legend


class Curve(NamedTuple):
    """A term's values over the epochs 1, 2, 3 and so on: of a run, or the mean and deviation of several seeds."""

    mean: np.ndarray  # (epochs,)
    std: np.ndarray  # (epochs,), 0 for a single run


class Curves(NamedTuple):
    """The curves of a run, or of several seeds, in a colour and, after every tenth, a dash of its own."""

    label: str
    place: int  # among all curves
    test: Mapping[str, Curve]  # by term: loss, recon, kl
    train: Mapping[str, Curve]

    @property
    def color(self) -> str:
        """The colour of its lines."""
        return LINE_COLORS[self.place % len(LINE_COLORS)]

    @property
    def dashes(self) -> tuple[Any, Any]:
        """The line styles of test and train."""
        return DASHES[self.place // len(LINE_COLORS) % len(DASHES)]


@styled
def draw_curves(path: Path, groups: Mapping[str, Sequence[Curves]], *, title: str, subtitle: str) -> None:
    """Draw a row of panels for each group of comparable runs, by its title; training is dotted."""
    lines = [curves for group in groups.values() for curves in group]
    columns = min(3, len(lines) + 2)
    legend_rows = math.ceil((len(lines) + 2) / columns)
    figure = new_figure(10.5, 3.1 * len(groups) + 0.2 * legend_rows + 0.1, title, subtitle)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(hspace=0.06)  # above a group's title
    panels = figure.subplots(len(groups), 3, squeeze=False)
    for row, (name, group) in zip(panels, groups.items(), strict=True):
        for axes, (term, meaning) in zip(row, TITLES.items(), strict=True):
            _draw_panel(axes, group, term)
            axes.set_title(f"\n{meaning}" if len(groups) > 1 else meaning, fontsize=10, loc="left")
        if len(groups) > 1:  # over all three panels, so it takes no part in the layout
            style = {"fontweight": "bold", "parse_math": False, "in_layout": False}
            row[0].annotate(shortened(name, 110), (0, 1), (0, 23), "axes fraction", "offset points", **style)
    handles = [Line2D([], [], color=curves.color, linestyle=curves.dashes[0], linewidth=2.4) for curves in lines]
    handles += [Line2D([], [], color=FAINT, linewidth=1.8, linestyle=style) for style in ("-", ":")]
    labels = [middle_cut(curves.label, LABEL) for curves in lines] + ["test", "train, averaged over each epoch"]
    legend = figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path)


def _draw_panel(axes: Axes, group: Sequence[Curves], term: str) -> None:
    """Draw a term of all runs, between the limits of what comes after each run's first tenth."""
    late, all_values = [], []
    for curves in group:
        drawn = zip((curves.test[term], curves.train[term]), curves.dashes, (1.8, 1.3), strict=True)
        for curve, style, width in drawn:
            epochs = np.arange(1, len(curve.mean) + 1)
            marker = "o" if len(epochs) == 1 else None
            axes.plot(
                epochs, curve.mean, linestyle=style, color=curves.color, linewidth=width, marker=marker, markersize=4
            )
            band = np.stack([curve.mean - curve.std, curve.mean + curve.std])
            if curve is curves.test[term] and curve.std.any():
                axes.fill_between(epochs, *band, color=curves.color, alpha=0.16, linewidth=0)
            late.append(band[:, len(epochs) // 10 :].ravel())  # the first epochs would flatten the rest
            all_values.append(curve.mean)
    low, high = (edge(np.concatenate(late)) for edge in (np.min, np.max))
    margin = 0.06 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    lowest, highest = (edge(np.concatenate(all_values)) for edge in (np.min, np.max))
    for arrow, value, is_cut, height in (
        ("↑", highest, highest > high + margin, 0.95),
        ("↓", lowest, lowest < low - margin, 0.05),
    ):
        if is_cut:
            text = f"{arrow} from {value:.0f}"
            axes.text(0.4, height, text, transform=axes.transAxes, va="center", fontsize=8.5, color=FAINT)
    axes.set(xlabel="epoch", ylabel="nats per image")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(True, linewidth=0.6)


@styled
def draw_samples(path: Path, blocks: Sequence[tuple[str, str, Tensor]], *, title: str, subtitle: str) -> None:
    """Draw a block of images for each model, below its name and a line about it; images (N, C, H, W) in [0, 1]."""
    columns = min(len(blocks), BLOCKS)
    rows = math.ceil(len(blocks) / columns)
    side = 3.4 if columns < 3 else 2.6  # inches
    figure = new_figure(max(5.2, side * columns), (side + 0.35) * rows, title, subtitle)
    letters = int(side / 0.085)
    for position, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if position < len(blocks):
            name, about, images = blocks[position]
            axes.imshow(tile(images, SIDE), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            heading = f"{middle_cut(name, letters)}\n{shortened(about, letters)}"
            axes.set_title(heading, fontsize=8.5, loc="left", parse_math=False)
    save_figure(figure, path)
