"""Runs that differ in the seed alone, taken together: mean and standard deviation of their figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vae.runs.catalog import TERMS, RecordedRun


class Spread(NamedTuple):
    """Mean and standard deviation (n − 1) of n values; no deviation of one value."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        values = list(values)
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        """`148.02 ± 0.47`, or `148.02` of a single value."""
        return f"{self.mean:.2f}" + ("" if self.std is None else f" ± {self.std:.2f}")


@dataclass(frozen=True)
class Entry:
    """One run, or several that differ in the seed alone: what a comparison sets beside others."""

    label: str
    runs: tuple[RecordedRun, ...]  # with the same yardstick, by seed

    @property
    def num_samples(self) -> int:
        """K of the NLL; 0 unless all runs have one with the same K."""
        counts = {run.likelihood.num_samples if run.likelihood else 0 for run in self.runs}
        return counts.pop() if len(counts) == 1 else 0

    @property
    def unmeasured(self) -> str:
        """Why there is no mean NLL though some of the runs have one; or else empty."""
        counts = {run.config.seed: run.likelihood.num_samples if run.likelihood else 0 for run in self.runs}
        if self.num_samples or not any(counts.values()):
            return ""
        without = [str(seed) for seed, count in counts.items() if not count]
        with_k = ", ".join(f"{count:,} (seed {seed})" for seed, count in counts.items())
        why = f"none was measured for seed {', '.join(without)}" if without else f"K differs: {with_k}"
        return f"{self.label} has no mean NLL, as {why}."

    @property
    def titles(self) -> dict[str, str]:
        """What the `spreads` are, as headings."""
        return TERMS | ({"nll": f"NLL (K={self.num_samples:,})"} if self.num_samples else {})

    @property
    def spreads(self) -> dict[str, Spread]:
        """Of `loss`, `recon` and `kl`, and of `nll` where it was measured with the same K."""
        return {name: Spread.of(run.scores[name] for run in self.runs) for name in self.titles}


def group_by_seed(runs: Sequence[RecordedRun]) -> list[Entry]:
    """Put runs together that differ in the seed alone and have done the same number of epochs, in the order given.

    A seed that is there twice says nothing about seeds: then only runs of one folder belong together.
    """
    groups: dict[object, list[RecordedRun]] = {}
    for run in runs:
        knobs = {name: value for name, value in run.config.hparams().items() if name not in ("seed", "preset")}
        groups.setdefault((*run.yardstick, run.epoch, *knobs.items()), []).append(run)
    entries: list[Entry] = []
    for members in (part for group in groups.values() for part in _without_twins(group)):
        by_seed = sorted(members, key=lambda run: run.config.seed)
        taken = {entry.label for entry in entries}
        entries.append(Entry(_label(by_seed, taken), tuple(by_seed)))
    return entries


def _without_twins(runs: list[RecordedRun]) -> list[list[RecordedRun]]:
    """Parts in which no seed is there twice: all runs, or those of each folder, or each run alone."""
    if len({run.config.seed for run in runs}) == len(runs):
        return [runs]
    folders: dict[Path, list[RecordedRun]] = {}
    for run in runs:
        folders.setdefault(run.path.parent, []).append(run)
    if len(folders) == 1:
        return [[run] for run in runs]
    return [part for same in folders.values() for part in _without_twins(same)]


def _label(runs: Sequence[RecordedRun], taken: Set[str]) -> str:
    """A run's name, or that of the folder that holds all of these."""
    if len(runs) == 1:
        return runs[0].name
    folders = {run.name.rpartition("/")[0] for run in runs}
    if len(folders) == 1 and "" not in folders and not folders & taken:
        return folders.pop()
    return f"{runs[0].name} and {len(runs) - 1} more"
