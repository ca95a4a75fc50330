"""The page that every figure is drawn on: its fonts, its colours, its titles, and the PNG it becomes."""

from __future__ import annotations

import functools
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vae.system.files import write_atomic

DPI = 160
MODEL = 40  # letters of a model's name in a subtitle, at most
INK, FAINT = "#1f2430", "#6b7280"
# Ten colours with a contrast of at least 3:1 to white (WCAG 2.2, 1.4.11). They were searched for the largest distance
# between any two (OKLab), seen with normal vision, protanopia and deuteranopia (Machado et al. 2009), larger for digits
# that lie close together (3 5 8, 4 7 9).
COLORS = (
    *("#1f2430", "#1c8060", "#f26b0e", "#9a0006", "#7331c5"),
    *("#2a7bfe", "#7d9a88", "#a64f00", "#9c6da8", "#0d6775"),
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
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a class name may be in any script
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """A figure of the given inches, under a strip with title and subtitle, left-aligned and wrapped to fit."""
    titles = textwrap.wrap(title, int(width / 0.115))
    subtitle = re.sub(r"\b(seed|epoch|ELBO|test) (?=[\d−])| (?=·)", "\\1\u00a0", subtitle)  # where no line should end
    subtitles = textwrap.wrap(subtitle, int(width / 0.072), break_on_hyphens=False)
    strip = 0.24 + 0.2 * len(titles) + 0.17 * len(subtitles)
    total = height + strip
    engine = ConstrainedLayoutEngine(w_pad=0.07, rect=(0, 0, 1, 1 - strip / total))
    figure = Figure(figsize=(width, total), dpi=DPI, layout=engine)
    left, below = 0.12 / width, 0.16 + 0.2 * len(titles)
    common: dict[str, Any] = {"x": left, "va": "top", "parse_math": False, "linespacing": 1.25}
    figure.text(y=1 - 0.1 / total, s="\n".join(titles), fontsize=12, fontweight="bold", **common)
    figure.text(y=1 - below / total, s="\n".join(subtitles), fontsize=8.5, color=FAINT, **common)
    return figure


def subtitle_of(
    data: str, model: str, *, seed: int, epoch: int, protocol: str, minus_elbo: float | None, more: Sequence[str] = ()
) -> str:
    """The line under a picture's title: whose picture it is, so that those of two runs can be told apart.

    `minus_elbo` is the test set's after that epoch, in nats per image; `None` where it isn't known.
    """
    score = protocol if minus_elbo is None else f"test −ELBO {minus_elbo:.2f} ({protocol})"
    name = f"{shortened(model, MODEL)}, seed {seed}"
    return " · ".join([data, name, f"epoch {epoch}", score, *more])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    write_atomic(path, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))


def shortened(name: str, letters: int) -> str:
    """A name of at most so many letters, with an ellipsis for what is left out."""
    return name if len(name) <= letters else f"{name[: letters - 1].rstrip()}…"
