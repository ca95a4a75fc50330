"""Write the tables of flags in options.md and commands.md from the knobs themselves: `make docs`."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from vae.config.config import Config  # noqa: E402
from vae.config.fields import GROUPS, SEED_MAX  # noqa: E402
from vae.config.knobs import item_type  # noqa: E402
from vae.config.options import COMMANDS, ModelOptions, Options  # noqa: E402

BLOCK = re.compile(r"(<!-- flags of (\w+): written by `make docs` -->\n).*?(\n<!-- end of flags -->)", re.DOTALL)

NOUNS = {int: "integer", float: "number", str: "name", "DIR": "folder", "FILE": "file", "PATH": "path", "RUN": "folder"}


def values(field: dataclasses.Field[Any]) -> str:
    """What a flag takes: `integer, 1 to 4,096`."""
    kind = item_type(field)
    if choices := field.metadata["choices"]:
        return ", ".join(f"`{choice}`" for choice in choices)
    if kind is bool:
        return "on or off"
    noun = NOUNS.get(field.metadata["metavar"], NOUNS[kind])
    if isinstance(field.default, tuple) and field.metadata["count"] != 1:
        noun = f"{field.metadata['count'] or 'one or more'} {noun}s"
    return ", ".join(filter(None, [noun, bounds(**field.metadata["bounds"])]))


def bounds(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    """Bounds of a number: `1 to 4,096`, `0 to below 1`, `0 or more`; empty where there are none."""
    start = f"above {plain(above)}" if low is None and above is not None else plain(low)
    end = f"below {plain(below)}" if below is not None else plain(high) if high != SEED_MAX else ""
    if start and end:
        return f"{start} to {end}"
    return start if start.startswith("above") else f"{start} or more" if start else ""


def plain(number: float | None) -> str:
    """A number without a needless decimal point; empty for none."""
    return "" if number is None else f"{number:,.0f}" if number == int(number) else f"{number:g}"


def default(field: dataclasses.Field[Any]) -> str:
    """A flag's default as it would be typed; empty for none."""
    value = field.default
    if isinstance(value, bool):
        return "on" if value else "off"
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"`{text}`" if text else ""


def table(fields: list[dataclasses.Field[Any]]) -> str:
    """A row for each flag."""
    rows = ["| flag | default | values | what it does |", "|---|---|---|---|"]
    for field in fields:
        name = field.metadata["metavar"] if field.metadata["positional"] else f"--{field.name}"
        cells = [f"`{name}`", default(field), values(field), field.metadata["help"]]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def fields_of(name: str) -> list[dataclasses.Field[Any]]:
    """The flags in a table: of a group of training's knobs, of a command, `all_commands`, or `model_commands`."""
    if name in GROUPS:
        return [field for field in dataclasses.fields(Config) if field.metadata["group"] == name]
    if name == "all_commands":
        return list(dataclasses.fields(Options))
    shared = {field.name: field.metadata["help"] for field in dataclasses.fields(Options)}
    if name == "model_commands":
        return [field for field in dataclasses.fields(ModelOptions) if field.name not in shared]
    shared |= {field.name: field.metadata["help"] for field in dataclasses.fields(ModelOptions)}
    return [field for field in dataclasses.fields(COMMANDS[name]) if shared.get(field.name) != field.metadata["help"]]


def rewritten(page: str) -> str:
    """The text of a page with every table made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(fields_of(found[2]))}\n{found[3]}", page)


def main() -> None:
    """Rewrite both pages."""
    for name in ("options.md", "commands.md"):
        path = DOCS / name
        path.write_text(rewritten(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
