"""Mistakes that belong to the person at the keyboard, told in one line."""

import os
import sys


class UserError(Exception):
    """Something the person can mend: `main.py` prints the message as one line and exits with `exit_code`.

    Everything else that is raised is a bug of ours and keeps its traceback.
    """

    exit_code = 1


class UsageError(UserError):
    """A flag, a value or a combination of flags that can't be."""

    exit_code = 2


def tell(line: str) -> None:
    """Print a line on stderr; of several processes that meet the same mistake, the leader says so."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)
