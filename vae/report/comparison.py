"""comparison.html: several runs on one page, with their figures, differences, curves and samples."""

from __future__ import annotations

from vae.report.glossary import BASICS, NLL
from vae.report.page import Values, render_page

SCRIPTS = ("dom.js", "curves.js", "page.js")  # in this order


def render(
    groups: list[Values],
    *,
    count: int,
    knobs: list[str],
    notes: list[str],
    chance: str,
    samples: str,
    charts: list[Values],
) -> str:
    """The whole page as HTML.

    Args:
        groups: comparable runs: `title`, `headings` and `entries`, each with `label`, `style`, its classes in
            report.css, `cells` and `knobs`.
        count: number of runs.
        knobs: names of those that differ.
        notes: what a reader must know first, a line each.
        chance: whether a difference may be the seed's.
        samples: the picture of samples as a data address; empty if there is none.
        charts: of each group, as `curves.js` draws them.
    """
    return render_page(
        "comparison.html",
        SCRIPTS,
        groups=groups,
        count=count,
        knobs=knobs,
        notes=notes,
        samples=samples,
        chance=chance,
        glossary=[*BASICS, NLL],
        data={"curves": charts},
    )
