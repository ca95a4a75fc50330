"""The command line: a parser generated from `Config`, and errors in one line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from vae import presets
from vae.config import Config
from vae.errors import UsageError
from vae.knobs import item_type

GROUPS = {
    "preset": "preset",
    "data": "data",
    "model": "model",
    "objective": "objective",
    "training": "training",
    "output": "what a run leaves",
    "machine": "machine",
}
EPILOG = """\
examples:
  python main.py --num_epochs 60                      the default: MNIST, two latents
  python main.py --preset mlp-20d --seed 1            a known system; other flags override its parts
  python main.py --dataset digits --num_epochs 5      no download at all
  python main.py --resume outputs/latest              continue where a run stopped
  tensorboard --logdir runs                           watch it train
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see python main.py --help)")


def build_parser() -> argparse.ArgumentParser:
    """Parser whose namespace holds only the flags that were given, so that a resumed run can tell."""
    parser = _Parser(
        prog="python main.py",
        usage="python main.py [flags]",
        description="Train a variational autoencoder on MNIST; leave numbers, pictures and checkpoints.",
        epilog=EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=110),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser._negative_number_matcher = re.compile(r"^-\.?\d")  # argparse takes -1e-3 for a flag
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for field in dataclasses.fields(Config):
        _add_flag(groups[field.metadata["group"]], field)
    groups["preset"].add_argument(
        "--list_presets", action="version", version=presets.describe(), help="show the presets and leave"
    )
    groups["output"].add_argument(
        "--resume", metavar="RUN", help="continue the run in this folder (outputs/NAME); --num_epochs may be raised"
    )
    return parser


def _add_flag(group: argparse._ArgumentGroup, field: dataclasses.Field[Any]) -> None:
    meta, kind = field.metadata, item_type(field)
    flag = f"--{field.name}"
    if kind is bool:
        group.add_argument(flag, action="store_true", help=meta["help"])
        off = f"--no_{field.name}"  # undoes what a preset turns on
        group.add_argument(off, dest=field.name, action="store_false", help=argparse.SUPPRESS)
        return
    default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
    help = f"{meta['help']} (default: {default})" if default else meta["help"]
    metavar = meta["metavar"] or (f"{{{','.join(meta['choices'])}}}" if meta["choices"] else _METAVARS[kind])
    nargs = "+" if isinstance(field.default, tuple) else None
    group.add_argument(flag, type=kind, nargs=nargs, metavar=metavar, help=help.replace("%", "%%"))


_METAVARS = {int: "N", float: "X", str: "NAME"}


def parse_args(argv: Sequence[str]) -> dict[str, Any]:
    """The flags that were given, by knob name; `resume` is there when asked for.

    Hyphens are accepted for underscores (`--num-epochs`). Values are held against their bounds here, so that a
    refused command line has touched nothing.

    Raises:
        UsageError: with one line that says what is wrong.
    """
    parser = build_parser()
    namespace, unknown = parser.parse_known_args([_underscored(token) for token in argv])
    if unknown:
        raise UsageError(_unknown_message(unknown[0], parser))
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(namespace).items()}
    presets.configure({name: value for name, value in given.items() if name != "resume"})
    return given


def _underscored(token: str) -> str:
    name, equals, value = token.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else token


def _unknown_message(token: str, parser: argparse.ArgumentParser) -> str:
    name = token.partition("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {token!r} (see python main.py --help)"
    flags = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(name, flags, n=1) or [flag for flag in flags if name.lstrip("-") in flag][:1]
    hint = f"did you mean {near[0]}?" if near else "see python main.py --help"
    return f"unknown flag {name} ({hint})"
