"""The command line, and the file of flags that it may name, become checked values; a mistake gets one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vae.config import presets
from vae.config.config import check_seeds
from vae.config.flag_file import Entry, read_flag_file
from vae.config.options import COMMANDS, Options
from vae.config.parsers import (
    AUTO,
    HELP_WORDS,
    KNOBS,
    TRAIN,
    Parser,
    Print,
    build_command_parser,
    build_parser,
    command_named,
)
from vae.system.errors import UsageError
from vae.system.wording import did_you_mean

SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}  # YAML's words
NOUNS = {int: "an integer", float: "a number"}


def parse_command(argv: Sequence[str]) -> Options | None:
    """The options of a command; `None` for a command line that trains or asks for help."""
    first = argv[0] if argv else TRAIN
    if first.startswith("-") or first in (TRAIN, *HELP_WORDS):
        return None
    command = command_named(first)
    return command(**_flags_given(build_command_parser(command), argv[1:]))


def parse_args(argv: Sequence[str]) -> dict[str, Any]:
    """The flags of training that were given, by name: knobs of the run, and `resume` if that was given.

    Hyphens are accepted for underscores (`--num-epochs`). The flags in the file that `--config` names count as given
    too, except where the line has others. Values are checked here, before anything is touched.
    """
    first = argv[0] if argv else ""
    if first == TRAIN:
        argv = argv[1:]
    elif first in HELP_WORDS:
        argv = [f"--{first}", *argv[1:]]
    parser = build_parser(topic=TRAIN if first == TRAIN else "")
    given = _flags_given(parser, argv)
    path = given.pop("config", None)
    if path is not None:
        given = {**_flags_in_file(path, given, parser), **given}
    if "seeds" in given:
        check_seeds(given["seeds"])
        if other := [name for name in ("seed", "resume") if given.get(name, AUTO) != AUTO]:
            raise UsageError(f"--seeds and --{other[0]} exclude each other")
    if given.get("resume") == AUTO:
        _check_auto(given)
    try:
        presets.configure({name: value for name, value in given.items() if name in KNOBS})
    except UsageError as error:
        raise UsageError(f"{error} (with the flags in {path})" if path else str(error)) from None
    return given


def _check_auto(given: Mapping[str, Any]) -> None:
    """Refuse `--resume auto` without a name, and where it would both continue and replace."""
    if not given.get("run_name"):
        raise UsageError(f"--resume {AUTO} continues the run of --run_name, or begins it: give that name")
    if given.get("overwrite"):
        raise UsageError(f"--resume {AUTO} and --overwrite exclude each other")


def _flags_given(parser: Parser, argv: Sequence[str]) -> dict[str, Any]:
    namespace, unknown = parser.parse_known_intermixed_args([_underscored(token) for token in argv])
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


def _flags_in_file(path: str, given: Mapping[str, Any], parser: Parser) -> dict[str, Any]:
    """The flags in a file, for a line on which `given` stand."""
    file = read_flag_file(path)
    if file.is_run and "preset" in given:
        raise UsageError(f"--preset {given['preset']}: {path} holds every flag of a run and leaves none to a preset")
    values = {}
    for entry in file.entries:
        if entry.name == "nets" and (not any(entry.values) or "nets" in given):
            continue
        try:
            values[entry.name] = _value(entry, parser)
        except UsageError as error:
            raise UsageError(f"--config {path}, line {entry.line}: {error}") from None
    for name, other in (("seed", "seeds"), ("seeds", "seed")):
        if name in given:  # the line's choice of seeds, in place of the file's
            values.pop(other, None)
    return values


def _value(entry: Entry, parser: Parser) -> Any:
    """A flag's value as the command line would give it, from the text in a file."""
    flag = f"--{entry.name}"
    action = parser.documented.get(flag)
    if action is None:
        raise UsageError(_unknown_message(flag, parser))
    if isinstance(action, Print) or action.dest in ("config", "nets"):  # no file decides which code runs
        raise UsageError(f"{flag} is for the command line only")
    if action.nargs == 0:
        word = " ".join(entry.values).lower()
        if word not in SWITCH:
            raise UsageError(f"{flag}: expected true or false")
        return SWITCH[word]
    if len(entry.values) != 1 and (action.nargs is None or not entry.values):
        raise UsageError(f"{flag}: expected a value, not a list of {len(entry.values)}")
    kind: Any = action.type or str
    try:
        values = tuple(map(kind, entry.values))
    except ValueError:
        raise UsageError(f"{flag}: expected {NOUNS[kind]}, not {' '.join(entry.values)!r}") from None
    return values[0] if action.nargs is None else values
