"""Train a variational autoencoder on MNIST, `python main.py --num_epochs 60`, and use it: `python main.py sample`."""

import sys

from vae.config.cli import parse_args, parse_command
from vae.system.errors import UserError, one_line, tell


def main(argv: list[str] | None = None) -> int:
    """Parse, hand over, and tell a person's mistake in one line. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if chosen := parse_command(argv):
            from vae.commands import execute  # here, not above: --help and wrong flags need no torch

            return execute(chosen)
        given = parse_args(argv)
        from vae.runs.launch import resume, train

        return resume(given) if "resume" in given else train(given)
    except (UserError, OSError) as error:  # an OSError's message names the path, the permission, the disk
        tell(f"error: {one_line(error)}")
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
