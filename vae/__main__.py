"""The program: `vae`, `python -m vae` and `python main.py` are this `main`."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from vae.config.cli import parse_args, parse_command
from vae.config.packages import TRAINING, packages_of
from vae.system.errors import UserError, one_line, tell
from vae.system.extras import require
from vae.system.streams import outlive_screen


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and run what they ask for; print a person's mistake as one line. Returns the exit code."""
    if argv is None:  # this process is the program's own
        argv = sys.argv[1:]
        outlive_screen()
    try:
        if options := parse_command(argv):
            require(options.name, *packages_of(options))
            _say_starting(quiet=options.quiet or not options.opens_models)
            from vae.commands import execute  # imported here because --help and wrong flags need no torch

            return execute(options)
        given = parse_args(argv)
        require("training", *TRAINING)
        _say_starting(quiet=given.get("quiet", False))
        from vae.runs.launch import resume, train

        return resume(given) if "resume" in given else train(given)
    except (UserError, OSError) as error:  # an OSError's message names the path, the permission, the disk
        tell(f"error: {one_line(error)}", ends=True)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


def _say_starting(*, quiet: bool) -> None:
    """Say so to a person at a terminal: importing PyTorch takes seconds, on a busy machine many."""
    if not quiet and sys.stderr.isatty():
        tell("starting ...")


def program() -> NoReturn:
    """Run `main` as this process's program, and end with its exit code."""
    codes: list[int] = []
    atexit.register(_end_at_once, codes)  # before all others, so that it is called after them
    codes.append(main())
    sys.exit(codes[0])


def _end_at_once(codes: list[int]) -> None:
    """Leave out the interpreter's last collection, of all that torch's compiler has left: it takes 2 to 3 s."""
    if codes:  # else a traceback was printed, which has an exit code of its own
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(codes[0])


if __name__ == "__main__":
    program()
