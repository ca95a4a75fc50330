"""What a run wrote down, read back and checked: config.json, metrics.jsonl, seeds.json."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from vae.system.console import short_path
from vae.system.files import FileError
from vae.system.schema import find_misfit

TERMS = ("loss", "recon", "kl", "elbo")
DESCRIPTION = {
    "config": dict,
    "dataset": str,
    "fallback": str,
    "protocol": str,
    "parameters": int,
    "seed": int,
    "device": str,
    "versions": dict,
    "git_commit": (str, type(None)),
}

SEEDS = {"flags": dict, "seeds": [int], "places": {"data_dir": str, "log_dir": str}}


def read_description(path: Path) -> dict[str, Any]:
    """Read a run's config.json, as `summary.describe_run` made it."""
    return _read_object(path, DESCRIPTION)


def read_seeds(path: Path) -> dict[str, Any]:
    """Read the seeds.json of several seeds' folder, as `seeds.SeedGroup` wrote it."""
    return _read_object(path, SEEDS)


def _read_object(path: Path, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise FileError(f"{short_path(path)} is damaged") from None
    if misfit := find_misfit(content, schema):
        raise FileError(f"{short_path(path)} is damaged: its {misfit} is missing or wrong")
    return content


def read_metrics(path: Path, last_epoch: int) -> list[dict[str, Any]]:
    """Read the rows of a metrics.jsonl up to `last_epoch`; a run that was killed may have left more, or half a row."""
    rows: list[dict[str, Any]] = []
    lines = _complete_lines(path)[:last_epoch] if last_epoch else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if find_misfit(row, _row_schema(rows[0] if rows else row)) or row["epoch"] != number:
            raise FileError(f"{short_path(path)}: line {number} is damaged")
        rows.append(row)
    if len(rows) != last_epoch:
        raise FileError(f"{short_path(path)} doesn't hold epochs 1 to {last_epoch}, which the checkpoint has seen")
    return rows


def _row_schema(first: Any) -> dict[str, Any]:
    """What every epoch records, where the first row tells whether there is a validation set."""
    scored = ("val", "test") if isinstance(first, dict) and "val/loss" in first else ("test",)
    return {
        "epoch": int,
        **{f"{split}/{name}": float for split in ("train", *scored) for name in TERMS},
        **{f"{split}/active_units": int for split in scored},
        **{f"{split}/kl_per_dim": [float] for split in scored},
        "seconds": float,
        "images_per_second": float,
    }


def last_row(path: Path) -> tuple[int, float, dict[str, Any]]:
    """Epochs done by a metrics.jsonl, their seconds, and the last row, empty before the first; half a row is left out.

    Only what is returned is checked: of hundreds of runs that is quick.
    """
    try:
        rows = [json.loads(line) for line in _complete_lines(path)]
        seconds = sum(row["seconds"] for row in rows)
        last = rows[-1] if rows else {}
    except (ValueError, RecursionError, LookupError, TypeError):
        raise FileError(f"{short_path(path)} is damaged") from None
    misfit = find_misfit(seconds, float) or (rows and find_misfit(last, _row_schema(last)))
    if misfit or (rows and last["epoch"] != len(rows)):
        raise FileError(f"{short_path(path)} is damaged")
    return len(rows), float(seconds), last


def _complete_lines(path: Path) -> list[str]:
    """The lines of a metrics.jsonl without what a kill has left of the last."""
    return read_text(path).split("\n")[:-1]


def started(run_dir: Path, seconds: float) -> datetime:
    """When a run began, as its config.json says; or else `seconds` before its last epoch ended, or now if it has none.

    `seconds` is the time in training; only an older version's config.json doesn't have the date.
    """
    try:
        return datetime.fromisoformat(json.loads(read_text(run_dir / "config.json"))["started"]).replace(tzinfo=None)
    except (FileError, ValueError, RecursionError, LookupError, TypeError):
        metrics = run_dir / "metrics.jsonl"
        ended = metrics.stat().st_mtime if seconds else time.time()
        return datetime.fromtimestamp(max(0.0, ended - seconds)).replace(microsecond=0)


def read_text(path: Path) -> str:
    """Read a file of UTF-8."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise FileError(f"can't read {short_path(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise FileError(f"{short_path(path)} is damaged") from None
