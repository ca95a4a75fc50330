"""The program: `vae`, `python -m vae` and `python main.py` are this `main`."""

import atexit
import gc
import sys

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
        atexit.register(gc.freeze)  # else the interpreter ends by collecting torch's compiler, which takes seconds
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
        tell(f"error: {one_line(error)}")
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


def _say_starting(*, quiet: bool) -> None:
    """Say so to a person at a terminal: importing PyTorch takes seconds, on a busy machine many."""
    if not quiet and sys.stderr.isatty():
        tell("starting ...")


if __name__ == "__main__":
    sys.exit(main())
