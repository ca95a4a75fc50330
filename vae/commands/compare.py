"""`compare`: runs side by side, on the screen, in two pictures and on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae.commands.places import Places
from vae.config.options import Compare
from vae.model.build import load_model
from vae.model.sampling import sample
from vae.plots.comparison import DASHES, LINE_COLORS, SIDE, TITLES, Curve, Curves, draw_curves, draw_samples
from vae.report import comparison as page
from vae.report.page import as_data_address, thinned
from vae.runs import comparison
from vae.runs.comparison import Group
from vae.runs.entries import Entry
from vae.runs.selection import select_runs
from vae.system.checkpoint import CheckpointError
from vae.system.columns import NAME, Column, middle_cut, table_lines
from vae.system.console import UNLIMITED, Console, Span, short_path, terminal_width
from vae.system.errors import UsageError
from vae.system.files import write_atomic, write_json

FOLDER = "comparison"
BEST = "*"
WEIGHTS = {"−ELBO": 10, "recon": 6, "KL": 5, "NLL": 9, "seeds": 8, "epochs": 7, "parameters": 3, "time": 4}
SEED = 0  # of the samples


def run(options: Compare, console: Console) -> None:
    """Print the tables; write curves.png, samples.png, comparison.json and comparison.html."""
    with Places(options, lambda: Path(options.output_dir)) as places:
        folder = places.folder(FOLDER)
        runs = select_runs(options.runs, Path(options.output_dir), all=options.all)
        if len(runs) < 2:
            raise UsageError(f"{len(runs)} run to compare, and it takes two: see the list command")
        groups = comparison.group_comparable(runs)
        _print_tables(groups, console)
        written = _write(folder, groups, console, count=len(runs))
    console.say(f"wrote {', '.join(written)} to {short_path(folder)}")


def _write(folder: Path, groups: Sequence[Group], console: Console, *, count: int) -> list[str]:
    """Write the pictures, the figures and the page of so many runs; returns the files' names."""
    entries = [entry for group in groups for entry in group.entries]
    rows = {entry.label: comparison.mean_rows(entry) for entry in entries}
    subtitle = "; ".join(group.title for group in groups)
    _draw_curves(folder / "curves.png", groups, rows, subtitle=subtitle)
    console.status("drawing samples")
    samples = folder / "samples.png"
    has_samples = _draw_samples(samples, entries, console, subtitle=subtitle)
    write_json(folder / "comparison.json", comparison.as_dict(groups))
    text = _page(groups, rows, count=count, samples=as_data_address(samples.read_bytes()) if has_samples else "")
    write_atomic(folder / "comparison.html", lambda stream: stream.write(text.encode()))
    return ["curves.png", *(["samples.png"] if has_samples else []), "comparison.json", "comparison.html"]


def _print_tables(groups: Sequence[Group], console: Console) -> None:
    for group in groups:
        rows = [comparison.cells(entry, group) for entry in group.entries]
        columns = [Column("run", [entry.label for entry in group.entries], 4, is_number=False)]
        for heading, weight in WEIGHTS.items():
            marks = [f"{text} {BEST}" if is_best else text for text, is_best in (row[heading] for row in rows)]
            room = "  " if any(is_best for _, is_best in (row[heading] for row in rows)) else ""
            cells = [mark if mark.endswith(BEST) or not mark else mark + room for mark in marks]
            columns.append(Column(heading + room, cells, weight))
        console.say(group.title)
        heading, *lines = table_lines(columns, terminal_width() - 2)
        console.say(f"  {heading}")
        for line, row in zip(lines, rows, strict=True):
            console.say_fitting([_spans(f"  {line}", [f"{text} {BEST}" for text, is_best in row.values() if is_best])])
        console.say()
    _print_differences(groups, console)
    console.say(f"nats per image of the test images; {BEST} the lowest of its kind; {comparison.chance(groups)}")
    for note in comparison.notes(groups):
        console.say(note)


def _spans(line: str, best: Sequence[str]) -> list[Span]:
    """A table's line, with the figures in it that are the lowest in a style of their own."""
    spans = []
    for text in best:
        before, lowest, line = line.partition(text) if text in line else ("", "", line)
        spans += [Span(before), Span(lowest, "best")]
    return [*spans, Span(line)]


def _print_differences(groups: Sequence[Group], console: Console) -> None:
    """Print the knobs that differ: as a table or, where that is too wide, in words."""
    knobs = comparison.differences(groups)
    if not knobs:
        return
    labels = [entry.label for group in groups for entry in group.entries]
    columns = [Column("what differs", labels, 0, is_number=False)]
    columns += [Column(knob, [values[label] for label in labels], 0) for knob, values in knobs.items()]
    lines = table_lines(columns, UNLIMITED)
    if max(map(len, lines)) + 2 <= terminal_width():
        for line in (*(f"  {line}" for line in lines), ""):
            console.say(line)
        return
    rows = [(label, ", ".join(f"{knob} {values[label]}" for knob, values in knobs.items())) for label in labels]
    console.table("what differs", [(middle_cut(label, NAME), words) for label, words in rows])
    console.say()


def _draw_curves(path: Path, groups: Sequence[Group], rows: dict[str, Any], *, subtitle: str) -> None:
    places = _places(groups)

    def curves(entry: Entry) -> Curves:
        values = {tag: np.array([row[tag] for row in rows[entry.label]]) for tag in rows[entry.label][0]}
        test, train = ({term: Curve(*values[f"{split}/{term}"].T) for term in TITLES} for split in ("test", "train"))
        return Curves(entry.label, places[entry.label], test, train)

    by_title = {group.title: [curves(entry) for entry in group.entries] for group in groups}
    banded = any(len(entry.runs) > 1 for group in groups for entry in group.entries)
    note = " · band: one standard deviation over seeds" if banded else ""
    draw_curves(path, by_title, title="Training curves", subtitle=f"nats per image · {subtitle}{note}")


def _places(groups: Sequence[Group]) -> dict[str, int]:
    labels = [entry.label for group in groups for entry in group.entries]
    return {label: place for place, label in enumerate(labels)}


def _draw_samples(path: Path, entries: Sequence[Entry], console: Console, *, subtitle: str) -> bool:
    """Draw samples of each entry's first run, and say whose model can't be used. Returns whether there is a picture."""
    blocks = []
    for entry in entries:
        first = entry.runs[0]
        if first.config.nets:
            console.say(f"no samples of {entry.label}: it has nets of its own, {first.config.nets}")
            continue
        try:
            images = sample(load_model(first.path), SIDE * SIDE, seed=SEED).images
        except CheckpointError as error:
            console.say(f"no samples of {entry.label}: {error}")
            continue
        seed = f", seed {first.config.seed}" if len(entry.runs) > 1 else ""
        blocks.append((entry.label, f"−ELBO {first.test['loss']:.2f}{seed}, epoch {first.epoch}", images))
    if blocks:
        note = f"pixel means of draws from the prior, seed {SEED}"
        draw_samples(path, blocks, title="Samples from the prior", subtitle=f"{note} · {subtitle}")
    return bool(blocks)


def _page(groups: Sequence[Group], rows: dict[str, Any], *, count: int, samples: str) -> str:
    knobs = comparison.differences(groups)
    styles = {
        label: f"run-{place % len(LINE_COLORS)} dash-{place // len(LINE_COLORS) % len(DASHES)}"
        for label, place in _places(groups).items()
    }
    described, charts = [], []
    for group in groups:
        table = [comparison.cells(entry, group) for entry in group.entries]
        headings = [heading for heading in table[0] if any(row[heading][0] for row in table)]
        entries = [
            {
                "label": entry.label,
                "style": styles[entry.label],
                "cells": [{"text": row[heading][0] or "–", "is_best": row[heading][1]} for heading in headings],
                "knobs": [values[entry.label] for values in knobs.values()],
            }
            for entry, row in zip(group.entries, table, strict=True)
        ]
        described.append({"title": group.title, "headings": headings, "entries": entries})
        charts.append(_chart(group, rows, styles))
    return page.render(
        described,
        count=count,
        knobs=list(knobs),
        notes=comparison.notes(groups),
        chance=comparison.chance(groups),
        samples=samples,
        charts=charts,
    )


def _chart(group: Group, rows: dict[str, Any], styles: dict[str, str]) -> dict[str, Any]:
    """The curves of comparable runs, for curves.js; a run that ended earlier has no values from there on."""
    longest = max(len(rows[entry.label]) for entry in group.entries)
    epochs = thinned([*range(1, longest + 1)])
    panels = []
    for split in ("test", "train"):
        for term, title in TITLES.items():
            lines, bands = {}, {}
            for entry in group.entries:
                of = rows[entry.label]
                values = [of[epoch - 1][f"{split}/{term}"] if epoch <= len(of) else None for epoch in epochs]
                lines[entry.label] = [None if value is None else round(value[0], 4) for value in values]
                if len(entry.runs) > 1 and split == "test":
                    bands[entry.label] = [
                        [None if value is None else round(value[0] + sign * value[1], 4) for value in values]
                        for sign in (-1, 1)
                    ]
            panels.append({"title": f"{split}: {title}", "lines": lines, "bands": bands})
    of_group = {entry.label: styles[entry.label] for entry in group.entries}
    return {"epochs": epochs, "panels": panels, "styles": of_group, "isNamed": False}
