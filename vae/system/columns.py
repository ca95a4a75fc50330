"""Tables of several columns that fit the width of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GAP = "  "
NAME, SHORTEST = 32, 12  # letters that a first column keeps where the table is too wide, and in any case


class Column(NamedTuple):
    """A column; the larger its `weight`, the sooner it gets a place, or as the first of a table room for long names."""

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

    Empty columns are left out, and every column that weighs less than one that doesn't fit. The cells of the first are
    cut to `NAME` letters unless there is room for more when its turn comes.
    """
    first, *others = (column for column in columns if any(column.cells))
    limit = max(SHORTEST, min(first.width, NAME, width))
    left, fitting = width - limit, []
    for column in sorted((first, *others), key=lambda column: -column.weight):
        needed = first.width - limit if column is first else len(GAP) + column.width
        if column is first:
            limit += min(needed, left)
        if needed > left:
            break
        left -= needed
        fitting.append(column)
    names = first._replace(cells=[middle_cut(cell, limit) for cell in first.cells])
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
