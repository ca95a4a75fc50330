"""Schemas: what a file must hold before the rest of the program relies on it."""

from __future__ import annotations

from typing import Any

LARGEST = 1e300  # of a number: JSON has integers that no float can hold


def find_misfit(value: object, schema: Any, name: str = "") -> str | None:
    """Name the first entry that doesn't fit a schema, as in `versions/torch`; `None` if all of them do.

    Args:
        value: what was read from a file.
        schema: a type or a tuple of types, where `float` means any finite number and a bool is not a number; a list
            of one schema for all items; or a dict of schemas for the entries that must be there.
        name: the name of the value itself; empty for a whole file.
    """
    if isinstance(schema, dict) and isinstance(value, dict):
        for key, inner in schema.items():
            inner_name = f"{name}/{key}" if name else key
            misfit = inner_name if key not in value else find_misfit(value[key], inner, inner_name)
            if misfit:
                return misfit
        return None
    if isinstance(schema, dict):
        fits = False
    elif isinstance(schema, list):
        fits = isinstance(value, list) and not any(find_misfit(item, schema[0]) for item in value)
    elif schema is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST
    else:
        fits = isinstance(value, schema) and not isinstance(value, bool)
    return None if fits else name or "content"
