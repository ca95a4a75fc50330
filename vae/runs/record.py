"""What a run left in words and figures, read back and held against what must be there before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vae.system.files import FileError

Facts = dict[str, Any]
LARGEST = 1e300
# The types of what is read: a class, a tuple of classes, or the entries of a dict; any finite number is a float.
TERMS = {"elbo": float, "recon": float, "kl": float}
LATENTS = {"active_units": int, "kl_per_dim": list}
SPEED = {"seconds_per_epoch": float, "images_per_second": float}
CONFIG = {
    **{"config": dict, "dataset": str, "fallback": str, "protocol": str, "parameters": int, "seed": int},
    **{"device": str, "versions": dict, "git_commit": (str, type(None))},
}
RESULTS = {
    **{"dataset": str, "protocol": str, "unit": str, "evaluation": str, "epoch": int, "train_seconds": float},
    **{**SPEED, "train": TERMS, "test": {**TERMS, **LATENTS}},
}
WHERE_HELD_OUT = {"val": TERMS, "best": {"epoch": int, "val/loss": float, "test/loss": float}}


def read_facts(path: Path) -> Facts:
    """What a run's config.json says.

    Raises:
        FileError: it can't be read, or doesn't say what it must; the message names the file.
    """
    return _held(_read(path), CONFIG, path)


def read_results(path: Path) -> Facts:
    """The closing figures in a run's results.json.

    Raises:
        FileError: it can't be read, or lacks a figure; the message names the file.
    """
    found = _held(_read(path), RESULTS, path)
    return _held(found, {name: kind for name, kind in WHERE_HELD_OUT.items() if name in found}, path)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FileError(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise FileError(f"{path} is damaged") from None


def _held(found: Any, needed: dict[str, Any], path: Path, within: str = "") -> Facts:
    """`found`, if it has everything that is needed."""
    if not isinstance(found, dict):
        raise FileError(f"{path} is damaged: {f'its {within}' if within else 'it'} is no table of figures")
    for name, kind in needed.items():
        place = f"{within}/{name}" if within else name
        if isinstance(kind, dict):
            _held(found.get(name), kind, path, place)
        elif name not in found or not _is(found[name], kind):
            raise FileError(f"{path} is damaged: its {place} is missing or can't be")
    return found


def _is(value: object, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST
    return isinstance(value, kind) and not isinstance(value, bool)
