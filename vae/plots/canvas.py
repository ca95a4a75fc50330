"""The page that every figure is drawn on: its fonts, its colours, its titles, and the PNG it becomes."""

from __future__ import annotations

import functools
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vae.system.files import write_atomic

DPI = 160
INK, FAINT = "#1f2430", "#6b7280"
# Petroff's ten colours (arXiv:2107.02270), distinguishable with every common colour vision deficiency, with near black
# for the darker grey, and in an order that gives digits that lie close together (3 5 8, 4 7 9) very different colours.
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


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in this project's style, without changing matplotlib's."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """A figure of the given inches, under a strip with title and subtitle, left-aligned and wrapped to fit."""
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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a class name may be in any script
        write_atomic(path, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))


def shortened(name: str, letters: int) -> str:
    """A name of at most so many letters, with an ellipsis for what is left out."""
    return name if len(name) <= letters else f"{name[: letters - 1].rstrip()}…"
