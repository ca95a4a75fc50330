"""Train a variational autoencoder on MNIST: `python main.py --num_epochs 60`."""

import sys

from vae.cli import parse_args
from vae.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Parse, hand over, and tell a person's mistake in one line. Returns the exit code."""
    try:
        given = parse_args(sys.argv[1:] if argv is None else argv)
        from vae.launch import resume, train  # here, not above: --help and wrong flags need no torch

        return resume(given) if "resume" in given else train(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a path, a permission, a disk: the message names it
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
