"""What a person sees while a run goes on: header, one live bar, a line per epoch, closing table."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vae.system.errors import plain
from vae.system.files import FileError


def epoch_line(row: dict[str, Any], num_epochs: int) -> str:
    """One epoch in one line: losses with their terms (nats per image), seconds and speed."""
    width = len(str(num_epochs))
    parts = [f"epoch {row['epoch']:>{width}}/{num_epochs}"]
    for split in ("train", "val", "test"):
        if f"{split}/loss" in row:
            terms = f"{row[f'{split}/recon']:.2f} + {row[f'{split}/kl']:.2f}"
            parts.append(f"{split} {-row[f'{split}/elbo']:.2f} = {terms}")
    parts.append(f"{row['seconds']:.1f} s, {row['images_per_second']:,.0f} images/s")
    return "  ".join(parts)


class Console:
    """Lines on stdout, the live bar and warnings on stderr; without a terminal there is no bar, only the lines.

    Args:
        quiet: print warnings only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a screen without × or – still gets its lines
        self._bar: tqdm[Any] | None = None

    def say(self, line: str = "") -> None:
        """A line that stays.

        Raises:
            FileError: a log in the screen's place has no room.
        """
        if self.quiet:
            return
        try:
            tqdm.write(plain(line), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has left (`| head`); the training goes on
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise FileError(f"can't write to standard output: {error.strerror or error}") from None

    def warn(self, *lines: str) -> None:
        """A framed warning that nobody can miss, `--quiet` or not."""
        rule = "!" * 78
        tqdm.write("\n".join([rule, *(f"!! {plain(line)}" for line in lines), rule]), file=sys.stderr)

    def table(self, title: str, rows: list[tuple[str, str]]) -> None:
        """A titled table of two columns."""
        width = max(len(name) for name, _ in rows)
        self.say(title)
        for name, value in rows:
            self.say(f"  {name:<{width}}  {value}")

    def start_bar(self, total: int, done: int = 0, *, unit: str = "images", title: str = "") -> None:
        """Show the live bar over all that is to be done, in images or another unit."""
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
        """`count` more images are done."""
        if self._bar is not None:
            self._bar.update(count)

    def epoch_begins(self, epoch: int, num_epochs: int) -> None:
        """Name the epoch on the bar."""
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {epoch}/{num_epochs}", refresh=False)

    def epoch_ends(self, row: dict[str, Any], num_epochs: int) -> None:
        """Leave the epoch's line and put its figures on the bar."""
        self.say(epoch_line(row, num_epochs))
        if self._bar is not None:
            self._bar.set_postfix_str(f"train {-row['train/elbo']:.2f}, test {-row['test/elbo']:.2f}")

    def close_bar(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


Table = list[tuple[str, str]]


def shown(path: Path) -> str:
    """A path as a person types it: relative where it lies below the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
