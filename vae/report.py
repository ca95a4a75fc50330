"""report.html: a run on one page, with its figures, pictures and configuration, and a decoder to play with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from vae import explorer, record, sections, summary
from vae.data import Splits
from vae.errors import UsageError
from vae.evaluate import posterior
from vae.files import FileError, write_atomic
from vae.folders import Folders
from vae.markup import PAGE, assemble, data_block, escape
from vae.model import VAE
from vae.tracking import read_metrics
from vae.trained import Trained, open_run

MAX_EPOCHS = 500  # in the curves and their table; of longer runs so many, evenly spaced
PANELS = {"elbo": "−ELBO = reconstruction + KL", "recon": "Reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}


def write_report(run: str | Path | Trained = "outputs/latest", path: Path | None = None) -> Path:
    """Write the report of a run that has finished, or was stopped after an epoch or more.

    Args:
        run: a run's folder, a checkpoint in it, or either of them opened.
        path: the file to write; `None` for the run's report.html, in place of what is there.

    Returns:
        Path of the report.

    Raises:
        UserError: no such run, a damaged file, or data that can't be had.
    """
    trained = run if isinstance(run, Trained) else open_run(run)
    run_dir = folder_of(trained)
    mu, _ = posterior(trained.model, trained.splits.test)
    if not mu.isfinite().all():
        raise FileError(f"{trained.path} holds a model whose latents are no finite numbers")
    return write(run_dir, trained.model, trained.splits, mu, epoch=trained.epoch, path=path)


def folder_of(trained: Trained) -> Path:
    """The folder that a report tells of.

    Raises:
        UsageError: the checkpoint lies outside a run, or the run has nothing to show yet.
    """
    if trained.run_dir is None:
        raise UsageError(f"{trained.path} lies outside a run: a report shows what is in a run's folder")
    if not trained.epoch:
        raise UsageError(f"{trained.run_dir}: no epoch is done yet, so there is nothing to report")
    return trained.run_dir


def write(run_dir: Path, model: VAE, splits: Splits, mu: Tensor, *, epoch: int, path: Path | None = None) -> Path:
    """Write a run's report from the files in its folder and a model that is at hand.

    Args:
        run_dir: with config.json and metrics.jsonl.
        model: after `epoch` epochs, in eval mode.
        splits: the data.
        mu: posterior means of the test split, (N, D).
        epoch: how many are done, one at least.
        path: the file to write, report.html in `run_dir` with `None`.

    Raises:
        FileError: a file of the run can't be read.
    """
    folders = Folders(run_dir, run_dir)
    facts = record.read_facts(folders.config)
    rows = read_metrics(folders.metrics, epoch)
    config = record.stored_config(facts["config"], folders.config)
    results = record.read_results(folders.results) if folders.results.exists() else {}
    if results.get("epoch") != epoch:  # stopped, or a checkpoint on the way
        results = summary.results(splits, rows, protocol=facts["protocol"], parameters=facts["parameters"])
    rows = _thinned(rows)
    found = explorer.describe(model, splits, mu)
    text = assemble(
        {
            "title": escape(f"{config.model_name} on {facts['dataset']}"),
            "run_name": escape(config.run_name),
            "model": escape(config.model_name),
            "dataset": escape(facts["dataset"]),
            "notice": sections.notice(config, facts, epoch),
            "tiles": sections.tiles(results),
            "explorer_lead": escape(_lead(found)),
            "explorer": (PAGE / "explorer.html").read_text("utf-8") if _playable(found) else "",
            "results": sections.results_section(config, facts, results),
            "epochs": sections.epochs_table(rows),
            "pictures": sections.pictures(run_dir),
            "configuration": sections.configuration(config),
            "reproduce": sections.reproduce(config, facts),
            "footer": escape(f"Seed {config.seed}, {facts['device']}. This page is one file and fetches nothing."),
            "data": data_block({"explorer": found if _playable(found) else None, "curves": _curves(rows)}),
        }
    )
    path = path or run_dir / "report.html"
    write_atomic(path, lambda stream: stream.write(text.encode()))
    return path


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    count = min(len(rows), MAX_EPOCHS)
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]


def _playable(found: dict[str, Any]) -> bool:
    return bool(found["program"] or found["bank"])


def _lead(found: dict[str, Any]) -> str:
    """What the explorer does with this model, in a sentence or two."""
    latents, active = found["latents"], len(found["units"])
    if not _playable(found):
        return f"There is none for this model: {found['reason']}, and its images are too large to bring along."
    if found["map"]:
        outside, total = found["map"]["outside"], found["map"]["total"]
        count = found["map"]["points"]["shape"][0] + outside
        shown = f"{count:,} test images" if count == total else f"{count:,} of {total:,} test images"
        shown += f" ({outside} lie further out)" if outside else ""
        then = "the nearest image of those decoded beforehand is shown" if found["bank"] else "is decoded as you go"
        then = f"for the place under the pointer, {then}" if found["bank"] else f"the place under the pointer {then}"
        how = f"The posterior means of {shown}. Move over the map: {then}."
    elif found["bank"]:
        how = "Start from a test image, or draw from the prior."
    else:
        idle = latents - active
        each = f"each of the {active} active latents, the most active first" if active != 1 else "the one active latent"
        how = f"A slider for {each}."
        if not active:
            how = "No latent is active, so that the image hardly changes whatever you do: the posterior has collapsed."
        elif idle:
            how += f" {idle} more carry nothing and are left out."
    return how + (f" They are images, not the decoder itself: {found['reason']}." if found["bank"] else "")


def _curves(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The curves' panels: a line for each split."""
    panels = []
    for term, title in PANELS.items():
        lines = {
            split: [(-1 if term == "elbo" else 1) * row[f"{split}/{term}"] for row in rows]
            for split in sections.SPLITS
            if f"{split}/{term}" in rows[-1]
        }
        panels.append({"title": title, "lines": {split: [round(v, 4) for v in line] for split, line in lines.items()}})
    return {"epochs": [row["epoch"] for row in rows], "panels": panels}
