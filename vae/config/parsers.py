"""The parsers, generated from `Config` and from each command's options, and the help that they print."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from vae import __version__
from vae.config import presets
from vae.config.config import Config
from vae.config.fields import GROUPS
from vae.config.knobs import item_type
from vae.config.options import COMMANDS, Options
from vae.config.options import GROUPS as COMMAND_GROUPS
from vae.system.errors import UsageError
from vae.system.program import PROGRAM
from vae.system.wording import did_you_mean

TRAIN = "train"
AUTO = "auto"  # in place of a folder: the run that --run_name names
HELP_WORDS = ("help", "version")  # taken without their dashes too, like commands
KNOBS = {field.name: field for field in dataclasses.fields(Config)}
# Flags of training that are no knobs of the run: the group in the help, and what argparse should know.
OTHER_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "config": ("preset", {"metavar": "FILE", "help": "flags from a YAML file, or from a run's config.json"}),
    "seeds": ("training", {"type": int, "nargs": "+", "metavar": "N", "help": "a run with each of these, one by one"}),
    "resume": (
        "output",
        {
            "metavar": "RUN",
            "help": "continue the run in this folder; --num_epochs may be raised; "
            "auto: that of --run_name if there is one, else begin it",
        },
    ),
}
# The flags that people change, which the short help has, and its examples.
MAIN_FLAGS = (
    *("preset", "dataset", "num_epochs", "batch_size", "lr", "latent_dim", "hidden_dims", "beta", "seed", "run_name"),
)
EXAMPLES = {
    f"{PROGRAM} --num_epochs 60": "MNIST, two latents",
    f"{PROGRAM} --preset mlp-20d --seeds 0 1 2": "a preset, three times",
    f"{PROGRAM} --dataset digits": "without a download",
    f"{PROGRAM} --resume outputs/latest": "continue a run",
    f"{PROGRAM} --config flags.yaml": "flags in a file",
    f"{PROGRAM} sample --num_samples 100": "from the latest run",
}
MORE_HELP = {
    f"{PROGRAM} --help all": "every flag of training",
    f"{PROGRAM} COMMAND --help": "the flags of a command",
    f"{PROGRAM} --list_presets": "what each preset stands for",
}
METAVARS = {int: "N", float: "X", str: "NAME"}


class Parser(argparse.ArgumentParser):
    """A parser whose namespace holds only the flags that were given; `help_line` prints all that there are."""

    def __init__(self, prog: str, *, help_line: str, **options: Any) -> None:
        super().__init__(
            prog,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=26, width=_width()
            ),
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            **options,
        )
        self._negative_number_matcher = re.compile(r"^-\.?\d")  # argparse mistakes -1e-3 for a flag
        self.help_line = help_line

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise UsageError(f"{message} (see {self.help_line})")

    @property
    def documented(self) -> dict[str, argparse.Action]:
        """What each flag does, without those that turn off a switch."""
        actions = [action for action in self._actions if action.help != argparse.SUPPRESS]
        return {flag: action for action in actions for flag in action.option_strings}


class Print(argparse.Action):
    """A flag that prints a text, made from the flag's value or from an empty one, and exits."""

    def __init__(self, *names: Any, text: Callable[[str], str], **options: Any) -> None:
        super().__init__(*names, **options)
        self.text = text

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, value: Any, flag: str | None = None) -> None:
        """Print the text."""
        print(self.text(value or "").rstrip(), flush=True)
        parser.exit()


def build_parser(*, topic: str = "") -> Parser:
    """The parser of training's flags, all of them under their groups; `topic` is what a bare `--help` is about."""
    parser = Parser(
        PROGRAM,
        help_line=f"{PROGRAM} --help all",
        usage=f"{PROGRAM} [{TRAIN}] [flags]",
        description=textwrap.fill(
            "Train a variational autoencoder; write figures, pictures and checkpoints. --no_NAME turns off a switch "
            "that a preset or a file turns on.",
            _width(),
        ),
        add_help=False,
    )
    for group, title in GROUPS.items():
        knobs = [name for name, field in KNOBS.items() if field.metadata["group"] == group]
        _add_flags(parser, title, knobs + [name for name, (place, _) in OTHER_FLAGS.items() if place == group])
    help = parser.add_argument_group("help")
    about = "the main flags; TOPIC is all, or the name of a command"
    help.add_argument(
        *("-h", "--help"),
        action=Print,
        nargs="?",
        metavar="TOPIC",
        text=lambda name: help_about(name or topic),
        help=about,
    )
    for flag, text, purpose in (
        ("--list_presets", lambda _: presets.describe(_width()), "the presets, with the flags that they stand for"),
        ("--version", lambda _: f"vae-mnist {__version__}", "the version"),
    ):
        help.add_argument(flag, action=Print, nargs=0, text=text, help=purpose)
    return parser


def build_command_parser(command: type[Options]) -> Parser:
    """The parser of a command's flags."""
    prog = f"{PROGRAM} {command.name}"
    examples = "".join(f"  {PROGRAM} {example}\n" for example in command.examples)
    fields = dataclasses.fields(command)
    words = [f"{field.metadata['metavar']} ..." for field in fields if field.metadata["positional"]]
    parser = Parser(
        prog,
        help_line=f"{prog} --help",
        usage=" ".join([prog, *words, "[flags]"]),
        description=f"{command.purpose[0].upper()}{command.purpose[1:]}.",
        epilog=f"examples:\n{examples}",
    )
    groups = {name: parser.add_argument_group(title) for name, title in COMMAND_GROUPS.items()}
    for field in fields:
        _add_flag(groups[field.metadata["group"]], field)
    return parser


def command_named(name: str, *, others: Sequence[str] = HELP_WORDS) -> type[Options]:
    """The options of a command; an unknown one is refused, with the command or other word that may have been meant."""
    if name not in COMMANDS:
        hint = did_you_mean(name, [TRAIN, *COMMANDS, *others]) or f"see {PROGRAM} --help"
        raise UsageError(f"unknown command {name!r} ({hint})")
    return COMMANDS[name]


def help_about(topic: str) -> str:
    """The help of a command, of `all` flags of training or, for an empty topic, of what people need most."""
    if topic in ("all", TRAIN):
        return build_parser().format_help()
    if topic:
        return build_command_parser(command_named(topic, others=["all"])).format_help()
    commands = {TRAIN: "train a model; so does a line without a command"}
    commands |= {name: command.purpose for name, command in COMMANDS.items()}
    parser = Parser(
        PROGRAM,
        help_line="",
        usage=f"{PROGRAM} [flags]\n       {PROGRAM} COMMAND [flags]",
        description=f"Train a variational autoencoder on MNIST, and use it.\n\n{_columns('commands', commands)}",
        epilog=_columns("examples", EXAMPLES) + "\n" + _columns("more help", MORE_HELP),
        add_help=False,
    )
    _add_flags(parser, "flags of training that people change", MAIN_FLAGS)
    return parser.format_help()


def _add_flags(parser: Parser, title: str, names: Sequence[str]) -> None:
    """Add flags of training under the title of their group."""
    group = parser.add_argument_group(title)
    for name in names:
        if name in KNOBS:
            _add_flag(group, KNOBS[name])
        else:
            group.add_argument(f"--{name}", **OTHER_FLAGS[name][1])


def _add_flag(group: argparse._ArgumentGroup, field: dataclasses.Field[Any]) -> None:
    meta, kind = field.metadata, item_type(field)
    flag = f"--{field.name}"
    if meta["positional"]:
        group.add_argument(field.name, type=kind, nargs="*", metavar=meta["metavar"], help=meta["help"])
        return
    if kind is bool:
        group.add_argument(flag, action="store_true", help=meta["help"])
        off = f"--no_{field.name}"  # turns off what a preset turns on
        group.add_argument(off, dest=field.name, action="store_false", help=argparse.SUPPRESS)
        return
    count = meta["count"] or "+"
    default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
    help = f"{meta['help']} (default: {default})" if default else meta["help"]
    metavar = meta["metavar"] or (f"{{{','.join(meta['choices'])}}}" if meta["choices"] else METAVARS[kind])
    nargs = count if isinstance(field.default, tuple) else None
    group.add_argument(flag, type=kind, nargs=nargs, metavar=metavar, help=help.replace("%", "%%"))


def _columns(title: str, rows: Mapping[str, str]) -> str:
    """A title and indented rows of two columns."""
    width = max(map(len, rows))
    lines = (f"  {left:<{width}}  {right}" for left, right in rows.items())
    wrapped = (textwrap.fill(line, _width(), subsequent_indent=" " * (width + 4)) for line in lines)
    return "\n".join([f"{title}:", *wrapped, ""])


def _width() -> int:
    """Characters in a line of help: the terminal's, or 80 where there is none."""
    return max(40, min(shutil.get_terminal_size().columns, 100))
