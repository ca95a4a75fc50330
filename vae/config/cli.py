"""The command line becomes checked values; a mistake gets one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vae.config import presets
from vae.config.options import COMMANDS, Options
from vae.config.parsers import (
    HELP_WORDS,
    KNOBS,
    TRAIN,
    Parser,
    build_command_parser,
    build_parser,
    command_named,
)
from vae.system.errors import UsageError
from vae.system.wording import did_you_mean


def parse_command(argv: Sequence[str]) -> Options | None:
    """The options of a command; `None` for a command line that trains or asks for help."""
    first = argv[0] if argv else TRAIN
    if first.startswith("-") or first in (TRAIN, *HELP_WORDS):
        return None
    command = command_named(first)
    return command(**_flags_given(build_command_parser(command), argv[1:]))


def parse_args(argv: Sequence[str]) -> dict[str, Any]:
    """The flags of training that were given, by name: knobs of the run, and `resume` if that was given.

    Hyphens are accepted for underscores (`--num-epochs`). Values are checked here, before anything is touched.
    """
    first = argv[0] if argv else ""
    if first == TRAIN:
        argv = argv[1:]
    elif first in HELP_WORDS:
        argv = [f"--{first}", *argv[1:]]
    parser = build_parser(topic=TRAIN if first == TRAIN else "")
    given = _flags_given(parser, argv)
    presets.configure({name: value for name, value in given.items() if name in KNOBS})
    return given


def _flags_given(parser: Parser, argv: Sequence[str]) -> dict[str, Any]:
    namespace, unknown = parser.parse_known_args([_underscored(token) for token in argv])
    if unknown:
        raise UsageError(_unknown_message(unknown[0], parser))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in vars(namespace).items()}


def _underscored(token: str) -> str:
    name, equals, value = token.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else token


def _unknown_message(token: str, parser: Parser) -> str:
    name = token.partition("=")[0]
    if not name.startswith("-"):
        hint = "a command comes first" if name in COMMANDS else f"see {parser.help_line}"
        return f"unexpected argument {token!r} ({hint})"
    return f"unknown flag {name} ({did_you_mean(name, parser.documented) or f'see {parser.help_line}'})"
