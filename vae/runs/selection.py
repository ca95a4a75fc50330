"""The runs that a person means: by name, folder or pattern."""

from __future__ import annotations

import difflib
import fnmatch
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from vae.runs.catalog import RecordedRun, find_runs, is_run, read_run
from vae.runs.folders import is_seeds_dir
from vae.system.console import short_path
from vae.system.errors import UsageError
from vae.system.files import FileError
from vae.system.program import PROGRAM

logger = logging.getLogger(__name__)


def select_runs(names: Sequence[str], output_dir: Path, *, all: bool = False) -> list[RecordedRun]:
    """The usable runs of these names, each once, in the order in which they are named; the others are logged.

    Args:
        names: of runs in `output_dir`, folders, patterns with *, or the folder of `--seeds`.
        output_dir: the folder of all runs.
        all: every run in it, newest first, in place of `names`.

    Raises:
        UsageError: there is no such run.
    """
    if not output_dir.is_dir() and all:
        raise UsageError(f"no runs in {output_dir}: train some first ({PROGRAM})")
    known, damaged = find_runs(output_dir) if output_dir.is_dir() else ([], {})
    words = ["*"] if all else [_below(word, output_dir) for word in names]
    for name, reason in damaged.items():
        if any(fnmatch.fnmatchcase(name, word) or name.startswith(f"{word}/") for word in words):
            logger.info("left out: %s", reason)
    named = known if all else [run for word in names for run in _named(word, output_dir, known)]
    return [run for run in {os.path.realpath(run.path): run for run in named}.values() if _is_usable(run)]


def _below(word: str, output_dir: Path) -> str:
    """A name or pattern as seen from the folder of all runs, if it begins with that."""
    return Path(os.path.normpath(word)).as_posix().removeprefix(f"{Path(os.path.normpath(output_dir)).as_posix()}/")


def _named(word: str, output_dir: Path, known: Sequence[RecordedRun]) -> list[RecordedRun]:
    """The runs of one word: a run's folder or name, the folder of several seeds, or a pattern."""
    for folder in (output_dir / word, Path(word)):
        real = Path(os.path.realpath(folder))
        if is_run(real):
            same = [run for run in known if os.path.realpath(run.path) == str(real)]
            return same or [read_run(real, short_path(real))]
        if is_seeds_dir(real):
            same = [run for run in known if os.path.realpath(run.path.parent) == str(real)]
            return same or find_runs(real, prefix=f"{short_path(real)}/")[0]
    below = _below(word, output_dir)
    if any(letter in word for letter in "*?["):
        matching = [run for run in known if fnmatch.fnmatchcase(run.name, below)]
        if not matching:
            raise UsageError(f"no run in {output_dir} matches {word!r}: see the list command")
        return matching
    near = difflib.get_close_matches(below, [run.name for run in known], n=1)
    hint = f"did you mean {near[0]}?" if near else "see the list command"
    if any(run.name.startswith(f"{below}/") for run in known):
        hint = f"its runs are '{below}/*'"
    raise UsageError(f"{word!r} is no run, in {output_dir} or as a path ({hint})")


def _is_usable(run: RecordedRun) -> bool:
    """Whether a run has epochs whose figures can all be read; says so if not."""
    try:
        reason = "" if run.rows else f"{run.name} has done no epoch yet"
    except FileError as error:
        reason = str(error)
    if reason:
        logger.info("left out: %s", reason)
    return not reason
