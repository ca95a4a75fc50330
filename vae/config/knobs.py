"""One field of a configuration that knows its own help text, choices and bounds."""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import sys
import unicodedata
from typing import Any

from vae.system.errors import UsageError

PATHS = ("DIR", "FILE", "PATH", "RUN")  # metavars


def knob(
    default: Any,
    help: str,
    *,
    group: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
    items: type | None = None,
    count: int | None = None,
) -> Any:
    """A dataclass field that carries its own documentation and bounds (`low`/`high` inclusive, `above`/`below` not).

    A tuple takes several values: where its default is empty, `items` is their type; `count` is how many there must be.
    """
    bounds = {"low": low, "high": high, "above": above, "below": below}
    metadata = {"help": help, "group": group, "bounds": bounds, "choices": choices, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata | {"items": items, "count": count})


def item_type(field: dataclasses.Field[Any]) -> type:
    """The type of one value of a knob: int for `hidden_dims`."""
    default = field.default
    kind: type = field.metadata["items"] or type(default[0] if isinstance(default, tuple) else default)
    return kind


def check_all(config: Any) -> None:
    """Hold every value of a dataclass of knobs against its field; lists become tuples."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, list):  # JSON knows no tuples
            object.__setattr__(config, field.name, value := tuple(value))
        check(field, value)


def check_device(name: str) -> None:
    """Refuse what can't be a device anywhere; whether this machine has it is asked later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?", name):
        raise UsageError(f"--device {brief(name)}: expected auto, cpu, mps, cuda or cuda:N")


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Hold one value against its type, choices and bounds."""
    flag, kind = f"--{field.name}", item_type(field)
    several = isinstance(field.default, tuple)
    if isinstance(value, tuple) != several:
        raise UsageError(f"{flag} {brief(value)}: expected {'a list of values' if several else 'one value'}")
    items = value if isinstance(value, tuple) else (value,)
    if not items and field.default != ():
        raise UsageError(f"{flag}: expected at least one value")
    count = field.metadata["count"]
    if items and count and len(items) != count:
        raise UsageError(f"{flag} {' '.join(map(brief, items[:5]))}: expected {count} values, not {len(items)}")
    for item in items:
        numeric = kind is float and type(item) is int
        if type(item) is not kind and not numeric:
            raise UsageError(f"{flag} {brief(item)}: expected {kind.__name__}")
        choices = field.metadata["choices"]
        if choices and item not in choices:
            raise UsageError(f"{flag} {brief(item)}: choose from {', '.join(choices)}")
        if kind in (int, float):
            _check_bounds(flag, item, field.metadata["bounds"])
        elif kind is str and not _is_text(item, path=field.metadata["metavar"] in PATHS):
            raise UsageError(f"{flag} {brief(item)}: unprintable characters")


def _is_text(value: str, *, path: bool) -> bool:
    """Whether it can be printed or, of a path, has no control characters: folders may have any other in their names."""
    return not any(unicodedata.category(letter) == "Cc" for letter in value) if path else value.isprintable()


def brief(value: object) -> str:
    """A value for a message, shortened: a file may hold lists in lists without end, and numbers of a million digits."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"{'-' if value < 0 else ''}10^{math.log10(abs(value)):.0f}"
    return _BRIEF.repr(value)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlevel = 80, 80, 2


def _check_bounds(flag: str, value: float, bounds: dict[str, float | None]) -> None:
    tests = {
        "low": ("at least", lambda bound: value >= bound),
        "high": ("at most", lambda bound: value <= bound),
        "above": ("above", lambda bound: value > bound),
        "below": ("below", lambda bound: value < bound),
    }
    if not abs(value) <= sys.float_info.max:  # integers have no end
        raise UsageError(f"{flag} {brief(value)}: expected a finite number")
    for name, bound in bounds.items():
        if bound is not None and not tests[name][1](bound):
            raise UsageError(f"{flag} {brief(value)}: must be {tests[name][0]} {bound}")
