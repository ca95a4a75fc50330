"""Mistakes of the person at the keyboard, printed as one line."""

import os
import re
import shutil
import sys
import textwrap
import time

MAX_LENGTH = 600  # characters of a message
PATIENCE = 3  # seconds for torchrun to end the other processes after one has failed


class UserError(Exception):
    """Something that the person can correct: `main.py` prints the message as one line and exits with `exit_code`.

    Any other exception is a bug of ours and keeps its traceback.
    """

    exit_code = 1


class UsageError(UserError):
    """A flag, a value or a combination of flags that is not allowed."""

    exit_code = 2


def plain(value: object) -> str:
    """Text with control characters replaced, and those that change the direction of writing."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(value))


def one_line(error: BaseException) -> str:
    """An error's message as one line, its middle left out if it is very long."""
    text = plain(error)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 100]} … {text[-90:]}"


def check_single_process(what: str) -> None:
    """Refuse what is for one process, such as `--seeds`, in the processes that torchrun starts."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(f"{what} is for a single process: start it without torchrun")


def tell(line: str, *, ends: bool = False) -> None:
    """Print a line on stderr, wrapped on a terminal; of several processes started by torchrun, only rank 0 does.

    Where the line says why a process `ends`, the others wait for torchrun to end them because rank 0 has said the same.
    If that doesn't happen, the mistake is theirs alone, and they say it.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1" and re.fullmatch("[1-9][0-9]*", os.environ.get("RANK", "0")):
        if not ends:
            return
        time.sleep(PATIENCE)
    if sys.stderr.isatty():  # a log keeps it as one line
        line = textwrap.fill(line, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    print(line, file=sys.stderr)
