"""The command line: parsers generated from `Config` and from each command's options; mistakes get one line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from vae.config import presets
from vae.config.config import GROUPS, Config
from vae.config.knobs import item_type
from vae.config.options import COMMANDS, Options
from vae.config.options import GROUPS as COMMAND_GROUPS
from vae.system.errors import UsageError

TRAIN = "train"
PROGRAM = "python main.py"
EPILOG = """\
examples:
  python main.py --num_epochs 60                      the default: MNIST, two latents
  python main.py --preset mlp-20d --seed 1            a preset; other flags override its values
  python main.py --dataset digits --num_epochs 5      without a download
  python main.py --resume outputs/latest              continue where a run stopped
  tensorboard --logdir runs                           watch the curves

with a trained model (see python main.py COMMAND --help):
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _parser_of(
    knobs: type, group_titles: dict[str, str], *, prog: str, usage: str, purpose: str, epilog: str
) -> tuple[_Parser, dict[str, argparse._ArgumentGroup]]:
    """A parser whose namespace holds only the flags that were given, and its argument groups by name."""
    parser = _Parser(
        prog=prog,
        usage=usage,
        description=purpose,
        epilog=epilog,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=110),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser._negative_number_matcher = re.compile(r"^-\.?\d")  # argparse mistakes -1e-3 for a flag
    groups = {name: parser.add_argument_group(title) for name, title in group_titles.items()}
    for field in dataclasses.fields(knobs):
        _add_flag(groups[field.metadata["group"]], field)
    return parser, groups


def build_parser() -> argparse.ArgumentParser:
    """The parser of training's flags."""
    width = max(map(len, COMMANDS))
    parser, groups = _parser_of(
        Config,
        GROUPS,
        prog=PROGRAM,
        usage=f"{PROGRAM} [flags]\n       {PROGRAM} COMMAND [flags]",
        purpose="Train a variational autoencoder on MNIST; write figures, pictures and checkpoints.",
        epilog=EPILOG + "".join(f"  {name:<{width}}  {command.purpose}\n" for name, command in COMMANDS.items()),
    )
    groups["preset"].add_argument(
        "--list_presets", action="version", version=presets.describe(), help="show the presets and exit"
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
        off = f"--no_{field.name}"  # turns off what a preset turns on
        group.add_argument(off, dest=field.name, action="store_false", help=argparse.SUPPRESS)
        return
    count = meta["count"] or "+"
    default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
    help = f"{meta['help']} (default: {default})" if default else meta["help"]
    metavar = meta["metavar"] or (f"{{{','.join(meta['choices'])}}}" if meta["choices"] else _METAVARS[kind])
    nargs = count if isinstance(field.default, tuple) else None
    group.add_argument(flag, type=kind, nargs=nargs, metavar=metavar, help=help.replace("%", "%%"))


_METAVARS = {int: "N", float: "X", str: "NAME"}


def build_command_parser(command: type[Options]) -> argparse.ArgumentParser:
    """The parser of a command's flags."""
    prog = f"{PROGRAM} {command.name}"
    examples = "".join(f"  {PROGRAM} {example}\n" for example in command.examples)
    purpose = f"{command.purpose[0].upper()}{command.purpose[1:]}."
    parser, _ = _parser_of(
        command, COMMAND_GROUPS, prog=prog, usage=f"{prog} [flags]", purpose=purpose, epilog=f"examples:\n{examples}"
    )
    return parser


def parse_command(argv: Sequence[str]) -> Options | None:
    """The options of a command; `None` for a command line that trains."""
    first = argv[0] if argv else TRAIN
    if first.startswith("-") or first == TRAIN:
        return None
    if first not in COMMANDS:
        near = difflib.get_close_matches(first, [TRAIN, *COMMANDS], n=1)
        hint = f"did you mean {near[0]}?" if near else f"see {PROGRAM} --help"
        raise UsageError(f"unknown command {first!r} ({hint})")
    return COMMANDS[first](**_flags_given(build_command_parser(COMMANDS[first]), argv[1:]))


def parse_args(argv: Sequence[str]) -> dict[str, Any]:
    """The flags of training that were given, by the knob's name, and `resume` if that was given.

    Hyphens are accepted for underscores (`--num-epochs`). Values are checked here, before anything is touched.
    """
    given = _flags_given(build_parser(), argv[1:] if argv[:1] == [TRAIN] else argv)
    presets.configure({name: value for name, value in given.items() if name != "resume"})
    return given


def _flags_given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    namespace, unknown = parser.parse_known_args([_underscored(token) for token in argv])
    if unknown:
        raise UsageError(_unknown_message(unknown[0], parser))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vars(namespace).items()}


def _underscored(token: str) -> str:
    name, equals, value = token.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else token


def _unknown_message(token: str, parser: argparse.ArgumentParser) -> str:
    name = token.partition("=")[0]
    if not name.startswith("-"):
        hint = "a command comes first" if name in COMMANDS else f"see {parser.prog} --help"
        return f"unexpected argument {token!r} ({hint})"
    documented = [action for action in parser._actions if action.help != argparse.SUPPRESS]  # omits --no_ flags
    flags = [flag for action in documented for flag in action.option_strings]
    near = difflib.get_close_matches(name, flags, n=1) or [flag for flag in flags if name.lstrip("-") in flag][:1]
    hint = f"did you mean {near[0]}?" if near else f"see {parser.prog} --help"
    return f"unknown flag {name} ({hint})"
