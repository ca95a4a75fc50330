"""Mistakes that belong to the person at the keyboard, told in one line."""

import os
import re
import sys

LONGEST = 600  # letters of a message


class UserError(Exception):
    """Something the person can mend: `main.py` prints the message as one line and exits with `exit_code`.

    Everything else that is raised is a bug of ours and keeps its traceback.
    """

    exit_code = 1


class UsageError(UserError):
    """A flag, a value or a combination of flags that can't be."""

    exit_code = 2


def plain(value: object) -> str:
    """Text without control characters, nor those that turn the direction of what follows."""
    return "".join(character if character.isprintable() else "\ufffd" for character in str(value))


def one_line(error: BaseException) -> str:
    """What a person is told of an error: a line of text, its middle left out where somebody's words are very long."""
    text = plain(error)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 100]} … {text[-90:]}"


def tell(line: str) -> None:
    """Print a line on stderr; of several processes that meet the same mistake, the leader says so."""
    follows = os.environ.get("WORLD_SIZE", "1") != "1" and re.fullmatch("[1-9][0-9]*", os.environ.get("RANK", "0"))
    if not follows:
        print(line, file=sys.stderr)
