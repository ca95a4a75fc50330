"""Several runs side by side: which of them may be ranked, what differs between them, and their curves.

Shapes: R runs that differ in the seed alone, E epochs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vae.config import presets
from vae.config.fields import OWN
from vae.runs.catalog import TERMS, RecordedRun
from vae.runs.entries import Entry, Spread, group_by_seed
from vae.system.console import duration

UNRANKED = (
    "Not all of these runs can be ranked together: a likelihood belongs to its own images and pixels, so 100 nats on "
    "grey pixels are neither better nor worse than 80 on binary ones. Each kind has a table of its own."
)
DRAWN_TESTS = (
    "Test images of a folder without test/ are drawn with each run's seed, so these runs were tested on others."
)
SAMPLES_DIFFER = "An NLL falls as its number of samples K grows: only those with the same K are compared."


@dataclass(frozen=True)
class Group:
    """Entries whose likelihoods may be compared, the lowest −ELBO first."""

    title: str
    entries: tuple[Entry, ...]

    def best(self, name: str) -> list[Entry]:
        """The entries with the lowest `loss`, or the lowest `nll` for each K; none where there is nothing to rank."""
        rivals: dict[int, list[Entry]] = {}
        for entry in self.entries:
            if name in entry.spreads:
                rivals.setdefault(entry.num_samples if name == "nll" else 0, []).append(entry)
        best = []
        for same in rivals.values():
            means = [round(entry.spreads[name].mean, 2) for entry in same]  # as they are printed
            best += [entry for entry, mean in zip(same, means, strict=True) if len(same) > 1 and mean == min(means)]
        return best


def group_comparable(runs: Sequence[RecordedRun]) -> list[Group]:
    """Put runs that differ in the seed alone together, and those whose likelihoods may be compared."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in group_by_seed(runs):
        groups.setdefault(entry.runs[0].yardstick, []).append(entry)
    return [
        Group(", ".join(yardstick), tuple(sorted(entries, key=lambda entry: entry.spreads["loss"].mean)))
        for yardstick, entries in groups.items()
    ]


def notes(groups: Sequence[Group]) -> list[str]:
    """What a reader must know before comparing these figures."""
    lines = [UNRANKED] if len(groups) > 1 else []
    for group in groups:
        counts = {entry.num_samples for entry in group.entries} - {0}
        runs = [run for entry in group.entries for run in entry.runs]
        if len(counts) > 1 and SAMPLES_DIFFER not in lines:
            lines.append(SAMPLES_DIFFER)
        if runs[0].config.dataset in OWN and len({run.config.seed for run in runs}) > 1:
            lines.append(DRAWN_TESTS)
        lines += [entry.unmeasured for entry in group.entries if entry.unmeasured]
    return lines


def chance(groups: Sequence[Group]) -> str:
    """What tells whether a difference may be the seed's."""
    if any(len(entry.runs) > 1 for group in groups for entry in group.entries):
        return "± is one standard deviation over n seeds (n − 1); what a single run owes to its seed is unknown"
    return "how much is the seed's alone, only several seeds can tell (--seeds)"


def differences(groups: Sequence[Group]) -> dict[str, dict[str, str]]:
    """The knobs that differ between entries, each with its value by the entry's label; seeds are listed."""
    entries = [entry for group in groups for entry in group.entries]
    knobs: dict[str, dict[str, str]] = {}
    for name in entries[0].runs[0].config.hparams():
        values = {entry.label: _in_words([run.config.hparams()[name] for run in entry.runs]) for entry in entries}
        if len(set(values.values())) > 1:
            knobs[name] = values
    return knobs


def _in_words(values: Sequence[object]) -> str:
    return ", ".join(dict.fromkeys(map(presets.knob_text, values)))


def cells(entry: Entry, group: Group) -> dict[str, tuple[str, bool]]:
    """An entry's row of a table, by heading: the text, and whether it is the best of its group."""
    runs, spreads = entry.runs, entry.spreads
    epochs = str(runs[0].epoch) + (
        "" if runs[0].epoch == runs[0].config.num_epochs else f"/{runs[0].config.num_epochs}"
    )
    figures = {title: (str(spreads[name]), entry in group.best(name)) for name, title in TERMS.items()}
    for plain in ("recon", "KL"):  # terms of a sum: neither is better by itself
        figures[plain] = (figures[plain][0], False)
    nll = f"{spreads['nll']} (K={entry.num_samples:,})" if "nll" in spreads else ""
    seconds = statistics.mean(run.seconds for run in runs)
    return {
        **figures,
        "NLL": (nll, entry in group.best("nll")),
        "seeds": (str(len(runs)) if any(len(other.runs) > 1 for other in group.entries) else "", False),
        "epochs": (epochs, False),
        "parameters": (f"{runs[0].parameters:,}", False),
        "time": (duration(seconds), False),
    }


def mean_rows(entry: Entry) -> list[dict[str, tuple[float, float]]]:
    """Mean and standard deviation over an entry's runs of each split's −ELBO (`loss`), recon and KL, epoch by epoch."""
    rows = [[_signed(row) for row in run.rows] for run in entry.runs]
    averaged = []
    for same_epoch in zip(*rows, strict=True):
        spreads = {tag: Spread.of(row[tag] for row in same_epoch) for tag in same_epoch[0]}
        averaged.append({tag: (spread.mean, spread.std or 0.0) for tag, spread in spreads.items()})
    return averaged


def _signed(row: dict[str, Any]) -> dict[str, float]:
    """A row's terms at beta 1, whatever was minimised."""
    return {
        f"{split}/{term}": -row[f"{split}/elbo"] if term == "loss" else row[f"{split}/{term}"]
        for split in ("test", "train")
        for term in TERMS
    }


def as_dict(groups: Sequence[Group]) -> dict[str, Any]:
    """The whole comparison, for comparison.json."""
    return {
        "unit": "nats per image, test images, lower is better; std over seeds with n − 1",
        "notes": notes(groups),
        "groups": [
            {
                "dataset": group.entries[0].runs[0].dataset,
                "protocol": group.entries[0].runs[0].protocol,
                "entries": [_entry_dict(entry, group) for entry in group.entries],
            }
            for group in groups
        ],
        "differences": differences(groups),
    }


def _entry_dict(entry: Entry, group: Group) -> dict[str, Any]:
    return {
        "label": entry.label,
        "test": {name: spread._asdict() for name, spread in entry.spreads.items()},
        "num_importance_samples": entry.num_samples or None,
        "lowest": [name for name in ("loss", "nll") if entry in group.best(name)],
        "runs": [run.as_dict() for run in entry.runs],
    }
