"""How good a likelihood becomes in how many minutes: draws the runs of `results.json` that `make record` has scored.

python benchmarks/time_to_quality.py  # outputs/gallery/time_to_quality.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results import ROOT, SCORED, Entry, load

from vae.plots.canvas import COLORS, new_figure, save_figure, styled

PICTURE = ROOT / "outputs" / "gallery" / "time_to_quality.png"
HIGHEST = 90  # nats: what an untrained model has is left out


@styled
def draw(entries: list[Entry], path: Path) -> None:
    """Write minus the ELBO of the test images against the minutes of training; each run's NLL stands at its end."""
    subtitle = "dynamically binarised MNIST, 10,000 test images · compiling and scoring left out"
    figure = new_figure(7.5, 4.2, "Minus the ELBO against minutes of training", subtitle)
    axes = figure.add_subplot()
    colors = dict(zip(SCORED, COLORS[1:], strict=False))
    for entry in entries:
        color = colors[entry["preset"]]
        minutes, losses = zip(*(point for point in entry["curve"] if point[1] < HIGHEST), strict=True)
        axes.plot(minutes, losses, color=color, linewidth=1.4)
        text = f"{entry['preset']}, {entry['device']}"
        if "final_eval" in entry:
            text += f"\nNLL {entry['final_eval']['test']['nll']['mean']:.2f}"
        below: dict[str, Any] = {"xytext": (0, -5), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(text, (minutes[-1], losses[-1]), color=color, fontsize=8.5, **below)
    axes.set(xlabel="minutes of training", ylabel="minus the ELBO, nats per image", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True)
    axes.margins(y=0.15)  # room for the names below the curves' ends
    save_figure(figure, path)


if __name__ == "__main__":
    draw([entry for entry in load() if "curve" in entry], PICTURE)
