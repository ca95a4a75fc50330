"""Mistakes of the person at the keyboard, printed as one line."""

import os
import re
import sys

MAX_LENGTH = 600  # characters of a message


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


def tell(line: str) -> None:
    """Print a line on stderr; of several processes started by torchrun, only rank 0 does."""
    other_rank = os.environ.get("WORLD_SIZE", "1") != "1" and re.fullmatch("[1-9][0-9]*", os.environ.get("RANK", "0"))
    if not other_rank:
        print(line, file=sys.stderr)
