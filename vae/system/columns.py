"""Tables of several columns that fit the width of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GAP = "  "
NAME, SHORTEST = 32, 12  # letters that a first column keeps where the table is too wide, and in any case


class Column(NamedTuple):
    """A column; the larger its `weight`, the sooner it gets a place."""

    heading: str
    cells: list[str]
    weight: int
    is_number: bool = True  # aligned to the right

    @property
    def width(self) -> int:
        """The characters of its widest cell."""
        return max(map(len, (self.heading, *self.cells)))


def table_lines(columns: Sequence[Column], width: int) -> list[str]:
    """A heading and a line for each row, none longer than `width`: the first column, and what fits beside it.

    Empty columns are left out.
    """
    first, *others = (column for column in columns if any(column.cells))
    limit = first.width
    if limit + sum(len(GAP) + column.width for column in others) > width:
        limit = max(SHORTEST, min(limit, NAME, width))
    names = Column(first.heading, [middle_cut(cell, limit) for cell in first.cells], first.weight, first.is_number)
    left, fitting = width - names.width, []
    for column in sorted(others, key=lambda column: -column.weight):
        if len(GAP) + column.width <= left:
            left -= len(GAP) + column.width
            fitting.append(column)
    parts = [_aligned(column) for column in (names, *(column for column in others if column in fitting))]
    return [GAP.join(cells).rstrip() for cells in zip(*parts, strict=True)]


def middle_cut(text: str, length: int) -> str:
    """A text of at most `length` letters: of a longer one its start and its end, since names often differ there."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def _aligned(column: Column) -> list[str]:
    align = str.rjust if column.is_number else str.ljust
    return [align(cell, column.width) for cell in (column.heading, *column.cells)]
