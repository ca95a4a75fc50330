"""`list`: the runs in a folder, newest first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vae.config.options import List
from vae.runs.catalog import FINISHED, TERMS, RecordedRun, find_runs
from vae.system.columns import Column, table_lines
from vae.system.console import Console, duration, short_path, terminal_width
from vae.system.errors import UsageError
from vae.system.files import write_csv, write_json
from vae.system.program import PROGRAM

LATEST = "*"  # beside the run that outputs/latest leads to


def run(options: List, console: Console) -> None:
    """Print a line for each run, and write them to a file if asked to."""
    output_dir = Path(options.output_dir)
    if options.output and Path(options.output).exists() and not options.overwrite:
        raise UsageError(f"{options.output} exists: choose another --output, or replace it with --overwrite")
    runs, damaged = find_runs(output_dir) if output_dir.is_dir() else ([], {})
    if not runs and not damaged:
        console.say(f"no runs in {output_dir}: train one with  {PROGRAM} --num_epochs 60")
    if runs:
        latest = os.path.realpath(output_dir / "latest")
        marked = [os.path.realpath(run.path) == latest for run in runs]
        notes = f"{LATEST} {short_path(output_dir / 'latest')}. " if any(marked) else ""
        notes += (
            "Test figures in nats per image, lower is better; compare them only where data and pixels are the same."
        )
        for line in (*table_lines(columns(runs, marked), terminal_width()), "", notes):
            console.say(line)
    for reason in damaged.values():
        console.say(f"left out: {reason}")
    if options.output:
        _write(Path(options.output), runs)
        console.say(f"wrote {short_path(Path(options.output))}")


def columns(runs: Sequence[RecordedRun], marked: Sequence[bool]) -> list[Column]:
    """The table's columns, the more useful with the larger weight."""
    figures = {term: [f"{run.test[term]:.2f}" if run.test else "–" for run in runs] for term in TERMS}
    names = [f"{run.name} {LATEST}" if mark else run.name for run, mark in zip(runs, marked, strict=True)]
    epochs = [str(run.epoch) if run.state == FINISHED else f"{run.epoch}/{run.config.num_epochs}" for run in runs]
    return [
        Column("run", names, 3, is_number=False),
        Column("data, pixels", [run.scoring for run in runs], 9, is_number=False),
        Column("model", [run.config.model_name for run in runs], 2, is_number=False),
        Column("epochs", epochs, 10),
        Column("−ELBO", figures["loss"], 11),
        Column("recon", figures["recon"], 6),
        Column("KL", figures["kl"], 5),
        Column("NLL", [str(run.likelihood) if run.likelihood else "" for run in runs], 4),
        Column("started", [f"{run.started:%Y-%m-%d %H:%M}" for run in runs], 1, is_number=False),
        Column("time", [duration(run.seconds) for run in runs], 3),
        Column("state", ["" if run.state == FINISHED else run.state for run in runs], 8, is_number=False),
    ]


def _write(path: Path, runs: Sequence[RecordedRun]) -> None:
    values = [run.as_dict() for run in runs]
    if path.suffix == ".json":
        write_json(path, values)
        return
    names = list(values[0]) if values else ["name"]
    write_csv(path, names, [["" if value is None else value for value in run.values()] for run in values])
