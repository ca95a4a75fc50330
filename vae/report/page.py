"""report.html: a run on one page, with its figures, pictures and configuration, and a decoder to play with.

Whatever comes from a run is escaped text in the page, never markup. The page fetches nothing, and its
Content-Security-Policy admits only the style and the scripts in `static/`, by their SHA-256 digests.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vae.config.config import Config
from vae.config.fields import GROUPS
from vae.config.presets import Expected, command_line, expectation
from vae.report import glossary
from vae.system.console import duration
from vae.system.errors import plain

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
MAP = ("places.js", "view.js", "cloud.js", "map.js", "gestures.js", "nearby.js")
DRAWING = ("elbo.js", "ink.js", "drawing.js")
EXPLORER = ("nets.js", *MAP, "point.js", "sliders.js", "link.js", *DRAWING, "explorer.js")
SCRIPTS = ("dom.js", *EXPLORER, "curves.js", "frames.js", "page.js")  # in this order
SPLITS = {"train": "train*", "val": "validation", "test": "test"}
TERMS = {"elbo": "−ELBO", "recon": "recon", "kl": "KL"}
PANELS = {"elbo": "−ELBO = reconstruction + KL", "recon": "Reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}
MAX_EPOCHS = 500  # shown in the curves and their table; a longer run's are thinned evenly
CAPTIONS = {
    "reconstructions.png": ("Reconstructions", "Test images above their reconstructions."),
    "samples.png": ("Samples", "Decoded draws from the prior."),
    "manifold.png": ("The latent plane", "What each place decodes to, on a grid of the prior's quantiles."),
    "latent_scatter.png": ("Posterior means", "Where the test images lie; classes that overlap are confused."),
    "tsne.png": ("t-SNE", "Posterior means; distances between clusters mean little."),
    "interpolation.png": ("Interpolation", "Straight lines between the posterior means of two test images."),
    "side_by_side.png": ("Side by side", "Originals left, reconstructions by the saved model right."),
}  # without loss_curves.png: the page draws these curves itself
AUTOMATIC = ("run_name", "precision")  # the program chooses these where they are not given, so they are never marked
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB\x60\x82"
Values = dict[str, Any]
Row = TypeVar("Row")


def render(
    run_dir: Path,
    config: Config,
    description: Values,
    results: Values,
    rows: list[Values],
    explorer: Values,
    *,
    frames: Values | None = None,
    damaged_frames: Sequence[str] = (),
    floor: float | None = None,
) -> str:
    """The whole page as HTML.

    Args:
        run_dir: the run's folder, for its pictures.
        config: the run's configuration.
        description: the content of config.json.
        results: the content of results.json.
        rows: the lines of metrics.jsonl, one an epoch.
        explorer: what `explorer.describe` returned.
        frames: what `frames.describe` returned, the epochs to scrub through.
        damaged_frames: names of files from which there was none to be read.
        floor: the least reconstruction term that is possible, nats per image; `None` if there is none.
    """
    rows = thinned(rows)
    expected, reason = expected_loss(config, results)
    commit, _, changes = (description["git_commit"] or "unknown").partition("+")
    pictures, damaged = read_pictures(run_dir)
    playable = bool(explorer["program"] or explorer["bank"])
    return render_page(
        "report.html",
        SCRIPTS,
        config=config,
        description=description,
        results=results,
        losses=terms(results["test"]),
        training_time=duration(results["train_seconds"]),
        explorer=explorer,
        playable=playable,
        split_rows=[[name, *terms(results[split])] for split, name in SPLITS.items() if split in results],
        expected=expected,
        reason=reason,
        gauge=gauge(expected, -results["test"]["elbo"]) if expected else None,
        epoch_headings=epoch_headings(rows),
        epoch_rows=epoch_rows(rows),
        frames=frames,
        damaged_frames=damaged_frames,
        pictures=pictures,
        damaged=damaged,
        options=options(config),
        command=command_line(config),
        glossary=glossary.explain(config, results, expected=expected, floor=floor),
        commit=commit,
        has_changes=bool(changes),
        data={"explorer": explorer if playable else None, "curves": curves(rows), "frames": frames},
    )


def render_page(template: str, scripts: Sequence[str], **values: Any) -> str:
    """A template with the style, and these scripts of `static/`, in the page itself."""
    style, *sources = ((STATIC / name).read_text("utf-8") for name in ("report.css", *scripts))
    return ENVIRONMENT.get_template(template).render(style=style, scripts=sources, **values)


def thinned(rows: list[Row], most: int = MAX_EPOCHS) -> list[Row]:
    """At most so many of the rows, evenly spaced, the first and the last among them."""
    count = min(len(rows), most)
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]


def splits_of(rows: list[Values]) -> list[str]:
    """The splits that the epochs were scored on."""
    return [split for split in SPLITS if f"{split}/elbo" in rows[-1]]


def terms(figures: Values, prefix: str = "") -> list[str]:
    """Minus the ELBO, its reconstruction term and its KL as text."""
    elbo, recon, kl = (figures[prefix + term] for term in TERMS)
    return [f"{value:.2f}" for value in (-elbo, recon, kl)]


def epoch_headings(rows: list[Values]) -> list[str]:
    """The headings of the table of all epochs."""
    return ["epoch", *(f"{split} {name}" for split in splits_of(rows) for name in TERMS.values())]


def epoch_rows(rows: list[Values]) -> list[list[Any]]:
    """The rows of the table of all epochs."""
    splits = splits_of(rows)
    return [[row["epoch"], *(term for split in splits for term in terms(row, f"{split}/"))] for row in rows]


def curves(rows: list[Values]) -> Values:
    """The panels of the training curves, each with a line for each split."""
    panels = []
    for term, title in PANELS.items():
        sign = -1 if term == "elbo" else 1
        lines = {split: [round(sign * row[f"{split}/{term}"], 4) for row in rows] for split in splits_of(rows)}
        panels.append({"title": title, "lines": lines})
    return {"epochs": [row["epoch"] for row in rows], "panels": panels}


def expected_loss(config: Config, results: Values) -> tuple[Expected | None, str]:
    """What the run's test loss is compared with; or `None`, and why there is no such figure."""
    if results["dataset"] != "MNIST":
        return None, f"figures have been measured on MNIST only, and this is {results['dataset']}"
    if results["epoch"] < config.num_epochs:
        return None, f"the run stands at epoch {results['epoch']} of {config.num_epochs}"
    return expectation(config)


def gauge(expected: Expected, loss: float) -> dict[str, float]:
    """Places on a line of 400 units with the expected mean at 200: a band of one standard deviation, and this run."""
    reach = max(3.5 * expected.std, 1.15 * abs(loss - expected.mean))
    deviation, distance = (176 * nats / reach for nats in (expected.std, loss - expected.mean))
    return {"left": 200 - deviation, "width": 2 * deviation, "run": 200 + distance}


def read_pictures(run_dir: Path) -> tuple[list[Values], list[str]]:
    """The run's pictures as data: addresses with their captions, and the names of those that are damaged."""
    pictures, damaged = [], []
    for name, (title, caption) in CAPTIONS.items():
        try:
            content = (run_dir / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError:
            content = b""
        if content.startswith(PNG_START) and content.endswith(PNG_END):
            pictures.append({"title": title, "caption": caption, "source": as_data_address(content)})
        else:
            damaged.append(name)
    return pictures, damaged


def as_data_address(content: bytes) -> str:
    """A PNG as an address that holds all of it."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def options(config: Config) -> list[Values]:
    """Every option with its value, its default, whether they differ, and its help text."""
    described = []
    for field in sorted(dataclasses.fields(config), key=lambda field: list(GROUPS).index(field.metadata["group"])):
        value, default = _in_words(getattr(config, field.name)), _in_words(field.default)
        is_usual = value == default or field.name in AUTOMATIC or (field.name, value) == ("dataset", "mnist")
        option = {"name": field.name, "value": value, "default": default, "is_changed": not is_usual}
        described.append({**option, "help": field.metadata["help"]})
    return described


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "–"


def _without_controls(value: object) -> object:
    """A value on its way into the page: as plain text, unless a template has already made it HTML."""
    return value if hasattr(value, "__html__") else plain(value)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_without_controls,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["sha256"] = _sha256
ENVIRONMENT.globals["KEYS"] = glossary.KEYS
ENVIRONMENT.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
