"""What a person sees: lines and tables that fit the terminal, one live progress bar, and warnings."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tqdm import tqdm

from vae.system.errors import plain
from vae.system.files import FileError

UNLIMITED = 10_000  # columns
NARROWEST = 20  # columns that a line is wrapped to
RULE = 78  # columns of a warning's frame, at most


class Span(NamedTuple):
    """A part of a line in a style of its own: bold, faint, best or none."""

    text: str
    style: str = ""


CODES = {"bold": "1", "faint": "2", "best": "1;32"}  # of ANSI terminals
Line = Sequence[Span]
Table = list[tuple[str, str]]


class Console:
    """Lines on stdout, the live bar and warnings on stderr; without a terminal there is no bar, only the lines.

    Within its `with` block, what the package logs is printed too, one line per message. A quiet one prints only
    warnings.
    """

    active: ClassVar[Console | None] = None  # the one whose `with` block is running

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that can't show × or – still gets its lines
        # https://no-color.org: any value but the empty one means no colour
        self.colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._bar: tqdm[Any] = tqdm(disable=True)
        self._status: tqdm[Any] = tqdm(disable=True)
        self._handler = _ConsoleHandler(self)

    def __enter__(self) -> Console:
        self._outer, Console.active = Console.active, self
        logger = logging.getLogger("vae")
        self._level_before = logger.level
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *error: object) -> None:
        Console.active = self._outer
        self.close_bar()
        logger = logging.getLogger("vae")
        logger.removeHandler(self._handler)
        logger.setLevel(self._level_before)

    def say(self, line: str = "") -> None:
        """Print a line that stays on the screen, wrapped between words."""
        for part in _wrapped(plain(line), terminal_width()):
            self._print(part)

    def say_fitting(self, lines: Iterable[Line]) -> None:
        """Print the first of these lines that fits the terminal, or else the last; they go from long to short."""
        width = terminal_width()
        for line in lines:
            if sum(len(span.text) for span in line) <= width:
                break
        self._print("".join(self._painted(plain(span.text), span.style) for span in line))

    def table(self, title: str, rows: Table) -> None:
        """Print a titled table of two columns; long values continue below themselves."""
        indent = max((len(name) for name, _ in rows), default=0) + 4
        for part in _wrapped(plain(title), terminal_width()):
            self._print(self._painted(part, "bold"))
        for name, value in rows:
            first, *more = _wrapped(plain(value), max(terminal_width() - indent, NARROWEST))
            self._print(self._painted(f"  {plain(name)}".ljust(indent), "faint") + first)
            for part in more:
                self._print(" " * indent + part)

    def warn(self, *lines: str) -> None:
        """Print a framed warning on stderr, even with `--quiet`."""
        width = min(terminal_width(), RULE)
        rule = "!" * width
        parts = [part for line in lines for part in _wrapped(plain(line), width - 3)]
        self._clear_status()
        tqdm.write("\n".join([rule, *(f"!! {part}" for part in parts), rule]), file=sys.stderr)

    def _print(self, line: str) -> None:
        if self.quiet:
            return
        self._clear_status()
        try:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            raise FileError(f"can't write to standard output: {error.strerror or error}") from None

    def _painted(self, text: str, style: str) -> str:
        return f"\033[{CODES[style]}m{text}\033[0m" if self.colored and style and text else text

    def status(self, doing: str) -> None:
        """Say what takes a while, on a line of its own that the next message replaces; in a log file it stays."""
        self._clear_status()
        if not sys.stderr.isatty():
            self.say(f"{doing} ...")
        elif not self.quiet:
            self._status = tqdm(bar_format="{desc}", desc=f"{doing} ...", leave=False, dynamic_ncols=True)

    def _clear_status(self) -> None:
        self._status.close()
        self._bar.unpause()  # its rate and the time left are without what the status was about

    def start_bar(self, total: int, done: int = 0, *, unit: str = "images", title: str = "", whole: str = "") -> None:
        """Show the progress bar, over `total` images or another unit of which some are done; `whole` names them all."""
        self._clear_status()
        left = "{elapsed}, {remaining} left, {rate_fmt}"
        self._bar = tqdm(
            total=total,
            initial=done,
            disable=self.quiet or not sys.stderr.isatty(),
            bar_format=f"{{desc}} {{percentage:3.0f}} % of {whole or f'all {unit}'} |{{bar}}| {left}",
            dynamic_ncols=True,
            leave=False,
            desc=title,
            unit=f" {unit}",
            unit_scale=True,
        )

    def advance(self, count: int) -> None:
        """Count more images as done."""
        self._bar.update(count)

    def title_bar(self, title: str) -> None:
        """Show a title, such as the epoch's number, on the bar."""
        self._bar.set_description_str(title, refresh=False)

    def close_bar(self) -> None:
        """Remove the bar and the status."""
        self._clear_status()
        self._bar.close()


@contextmanager
def progress(total: int, *, unit: str, title: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on the console whose `with` block is running, if there is one.

    Yields:
        What counts more as done.
    """
    console = Console.active
    if console is None:
        yield lambda count: None
        return
    console.start_bar(total, unit=unit, title=title)
    try:
        yield console.advance
    finally:
        console.close_bar()


def terminal_width() -> int:
    """Columns that a line may have; where stdout is no terminal, more than any line has: a log keeps whole lines."""
    return max(shutil.get_terminal_size().columns, NARROWEST) if sys.stdout.isatty() else UNLIMITED


def _wrapped(line: str, width: int) -> list[str]:
    """A line in parts that fit, broken between words; a path or a word that is longer stays whole."""
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]


def short_path(path: Path) -> str:
    """A path as a person types it: relative if it lies below the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def duration(seconds: float) -> str:
    """`52 s`, `1 min 17 s` or `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self._console.say(record.getMessage())
