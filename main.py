"""Train a variational autoencoder on MNIST, `python main.py --num_epochs 60`, and use it: `python main.py sample`."""

import sys

from vae.config.cli import parse_args, parse_command
from vae.system.errors import UserError, one_line, tell


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and run what they ask for; print a person's mistake as one line. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if options := parse_command(argv):
            from vae.commands import execute  # imported here because --help and wrong flags need no torch

            return execute(options)
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
