"""What a person sees: lines and tables, one live progress bar, and warnings."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vae.system.errors import plain
from vae.system.files import FileError


class Console:
    """Lines on stdout, the live bar and warnings on stderr; without a terminal there is no bar, only the lines.

    Within its `with` block, what the package logs is printed too, one line per message. A quiet one prints only
    warnings.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that can't show × or – still gets its lines
        self._bar: tqdm[Any] = tqdm(disable=True)
        self._handler = _ConsoleHandler(self)

    def __enter__(self) -> Console:
        logger = logging.getLogger("vae")
        self._level_before = logger.level
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *error: object) -> None:
        self.close_bar()
        logger = logging.getLogger("vae")
        logger.removeHandler(self._handler)
        logger.setLevel(self._level_before)

    def say(self, line: str = "") -> None:
        """Print a line that stays on the screen."""
        if self.quiet:
            return
        try:
            tqdm.write(plain(line), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of the pipe has left (`| head`); the training goes on
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise FileError(f"can't write to standard output: {error.strerror or error}") from None

    def warn(self, *lines: str) -> None:
        """Print a framed warning on stderr, even with `--quiet`."""
        rule = "!" * 78
        tqdm.write("\n".join([rule, *(f"!! {plain(line)}" for line in lines), rule]), file=sys.stderr)

    def table(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Print a titled table of two columns."""
        width = max(len(name) for name, _ in rows)
        self.say(title)
        for name, value in rows:
            self.say(f"  {name:<{width}}  {value}")

    def start_bar(self, total: int, done: int = 0, *, unit: str = "images", title: str = "") -> None:
        """Show the progress bar, over `total` images or another unit of which some are done already."""
        hidden = self.quiet or not sys.stderr.isatty()
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {rate_fmt}{postfix}"
        self._bar = tqdm(
            total=total,
            initial=done,
            disable=hidden,
            bar_format=layout,
            dynamic_ncols=True,
            leave=False,
            desc=title,
            unit=f" {unit}",
            unit_scale=True,
        )

    def advance(self, count: int) -> None:
        """Count more images as done."""
        self._bar.update(count)

    def epoch_begins(self, epoch: int, num_epochs: int) -> None:
        """Show the epoch's number on the bar."""
        self._bar.set_description_str(f"epoch {epoch}/{num_epochs}", refresh=False)

    def epoch_ends(self, line: str, figures: str) -> None:
        """Print the epoch's line, and show its figures on the bar."""
        self.say(line)
        self._bar.set_postfix_str(figures)

    def close_bar(self) -> None:
        """Remove the bar."""
        self._bar.close()


Table = list[tuple[str, str]]


def short_path(path: Path) -> str:
    """A path as a person types it: relative if it lies below the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        self._console.say(record.getMessage())
