"""This program's name in messages: the words that start it again."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def name_of(started: str, package: Path = _PACKAGE) -> str:
    """The words that start the program: `vae`, `python -m vae` or, in a checkout of the code, `python main.py`.

    Args:
        started: `sys.argv[0]`; neither of the first two if the package was imported by another program.
        package: the folder of the package.
    """
    script = Path(started)
    if script.name == "__main__.py" and script.parent.name == package.name:
        return "python -m vae"
    is_checkout = (package.parent / "main.py").is_file()
    return "python main.py" if is_checkout and script.stem != "vae" else "vae"


PROGRAM = name_of(sys.argv[0])
