"""What a run wrote down, read back and checked: config.json and metrics.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def read_description(path: Path) -> dict[str, Any]:
    """Read a run's config.json, as `summary.describe_run` made it."""
    try:
        description = json.loads(_read_text(path))
    except (ValueError, RecursionError):
        raise FileError(f"{path} is damaged") from None
    if misfit := find_misfit(description, DESCRIPTION):
        raise FileError(f"{path} is damaged: its {misfit} is missing or wrong")
    return description


def read_metrics(path: Path, last_epoch: int) -> list[dict[str, Any]]:
    """Read the rows of a metrics.jsonl up to `last_epoch`; a run that was killed may have left more, or half a row."""
    rows: list[dict[str, Any]] = []
    lines = _read_text(path).splitlines()[:last_epoch] if last_epoch else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if find_misfit(row, _row_schema(rows[0] if rows else row)) or row["epoch"] != number:
            raise FileError(f"{path}: line {number} is damaged")
        rows.append(row)
    if len(rows) != last_epoch:
        raise FileError(f"{path} doesn't hold epochs 1 to {last_epoch}, which the checkpoint has seen")
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


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise FileError(f"can't read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise FileError(f"{path} is damaged") from None
