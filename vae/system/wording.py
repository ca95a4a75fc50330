"""Words of messages: plurals, and what a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def plural(count: float, noun: str) -> str:
    """The noun, with an s unless there is exactly one."""
    return noun if count == 1 else f"{noun}s"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`did you mean mnist?`, of the name that is most like `word` or contains it; empty if there is none."""
    word, names = word.lower(), list(names)
    near = difflib.get_close_matches(word, names, n=1)
    core = word.strip("-")
    near = near or [name for name in names if core and core in name]
    return f"did you mean {near[0]}?" if near else ""
