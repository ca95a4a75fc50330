"""Knobs: dataclass fields that carry their own help text, choices and bounds, and the check of a value against them."""

from __future__ import annotations

import dataclasses
import operator
import re
import sys
import unicodedata
from typing import Any

from vae.system.errors import UsageError
from vae.system.wording import did_you_mean

BOUNDS = {
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
}


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
    most: int | None = None,
    positional: bool = False,
) -> Any:
    """A dataclass field that carries its own documentation and bounds (`low`/`high` inclusive, `above`/`below` not).

    A tuple takes several values: if its default is empty, `items` is their type; `count` is how many there must be,
    `most` how many there may be.
    A `positional` one is given without its flag: `compare RUN RUN`.
    """
    bounds = {"low": low, "high": high, "above": above, "below": below}
    metadata: dict[str, Any] = {"help": help, "group": group, "bounds": bounds, "choices": choices, "metavar": metavar}
    metadata |= {"items": items, "count": count, "most": most, "positional": positional}
    return dataclasses.field(default=default, metadata=metadata)


def item_type(field: dataclasses.Field[Any]) -> type:
    """The type of a knob's value, or of one of its values: int for `hidden_dims`."""
    default = field.default
    kind: type = field.metadata["items"] or type(default[0] if isinstance(default, tuple) else default)
    return kind


def check_all(knobs: Any) -> None:
    """Refuse a value of a dataclass of knobs that is out of bounds, with the flag, the value and what is allowed."""
    for field in dataclasses.fields(knobs):
        _check(field, f"--{field.name}", getattr(knobs, field.name))


def check(knobs: type[Any], **values: Any) -> None:
    """Refuse a value that a dataclass's knob of its name doesn't allow, as `check_all` does, but without dashes."""
    fields = {field.name: field for field in dataclasses.fields(knobs)}
    for name, value in values.items():
        _check(fields[name], name, value)


def check_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is not among the choices, and suggest the one that may have been meant."""
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise UsageError(f"{flag} {value!r}: choose from {', '.join(choices)}" + f" ({hint})" * bool(hint))


def check_device(name: str) -> None:
    """Refuse what can't be a device anywhere; whether this machine has it is checked later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?", name):
        raise UsageError(f"--device {name!r}: expected auto, cpu, mps, cuda or cuda:N")


def check_run_name(name: str) -> None:
    """Refuse what isn't the name of a single folder, or leads elsewhere."""
    if not name.isprintable():
        raise UsageError(f"--run_name {name!r}: unprintable characters")
    if len(name.encode()) > 120:
        raise UsageError(f"--run_name is {len(name.encode())} bytes long: at most 120")
    if name != name.strip() or name.startswith((".", "-")) or re.search(r'[/\\:*?"<>|]', name):
        refused = 'a space at either end, a dot or dash at the start, or any of / \\ : * ? " < > |'
        raise UsageError(f"--run_name {name!r}: expected a folder's name, without {refused}")
    if name in ("latest", "gallery"):
        raise UsageError(f"--run_name {name!r} is reserved: choose another")


def _check(field: dataclasses.Field[Any], flag: str, value: Any) -> None:
    count = field.metadata["count"]
    if not isinstance(field.default, tuple):
        _check_item(field, flag, value)
        return
    if not isinstance(value, tuple):
        raise UsageError(f"{flag}: expected a tuple of values, not {type(value).__name__}")
    if not value and field.default:
        raise UsageError(f"{flag}: expected at least one value")
    if value and count and len(value) != count:
        raise UsageError(f"{flag}: expected {count} values, not {len(value)}")
    if len(value) > (field.metadata["most"] or len(value)):
        raise UsageError(f"{flag}: expected at most {field.metadata['most']:,} values, not {len(value):,}")
    for item in value:
        _check_item(field, flag, item)


def _check_item(field: dataclasses.Field[Any], flag: str, value: Any) -> None:
    """Check one value. A message shows it only once its type and size are known: a file may hold anything."""
    kind, choices = item_type(field), field.metadata["choices"]
    if type(value) not in ((int, float) if kind is float else (kind,)):  # a bool is no int here
        raise UsageError(f"{flag}: expected {kind.__name__}, not {type(value).__name__}")
    if kind in (int, float):
        if not abs(value) <= sys.float_info.max:  # NaN, infinity, or an integer that no float holds
            raise UsageError(f"{flag}: expected a finite number")
        for name, (words, holds) in BOUNDS.items():
            bound = field.metadata["bounds"][name]
            if bound is not None and not holds(value, bound):
                raise UsageError(f"{flag} {value}: must be {words} {bound}")
    if choices:
        check_choice(flag, value, choices)
    if kind is str and any(unicodedata.category(letter) == "Cc" for letter in value):
        raise UsageError(f"{flag} {value!r}: unprintable characters")
