"""Flags in a file: a flat YAML mapping, or the config.json of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vae.config.fields import PLACES
from vae.system.errors import UsageError
from vae.system.extras import require

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 100_000  # a run's config.json has about 3,000


class Entry(NamedTuple):
    """A flag as it stands in a file: its name with underscores, and its values as they are written."""

    line: int
    name: str
    values: list[str]


class FlagFile(NamedTuple):
    """What a file says. A run's config.json, `is_run`, holds every knob, but not the places of that run."""

    entries: list[Entry]
    is_run: bool


def read_flag_file(path: str) -> FlagFile:
    """Read flags from YAML, or from JSON, which YAML includes.

    Values stay text, to be parsed like those on the command line: YAML 1.1 would make a string of 1e-3, a number of
    1:30 and a switch of `compile: on`. Nothing is constructed from the file, so that no tag in it can run code.

    Raises:
        UsageError: there is no such file, or it isn't a flat mapping; the message names the file and the line.
    """
    require("--config", "pyyaml")
    import yaml  # imported here to keep --help fast

    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"--config {path}: longer than {MAX_BYTES:,} bytes; expected a few flags")
        root = yaml.compose(content, Loader=yaml.SafeLoader)
        if root is None:  # empty, or only comments
            return FlagFile([], is_run=False)
        run = _config_of_run(root)
        entries = list(_entries(run or root))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror or error}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"--config {path}{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError(f"--config {path}: not a text file in YAML or JSON") from None
    if run:
        entries = [entry for entry in entries if entry.name not in PLACES]
    return FlagFile(entries, is_run=run is not None)


def _config_of_run(root: yaml.Node) -> yaml.Node | None:
    """The entry `config` of a run's config.json, which has others beside it; `None` for another file."""
    import yaml

    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if key.value == "config" and isinstance(value, yaml.MappingNode):
                return value
    return None


def _entries(root: yaml.Node) -> Iterator[Entry]:
    """The entries of a mapping. Raises `yaml.MarkedYAMLError` for what can't be a flag."""
    import yaml

    def refuse(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    if not isinstance(root, yaml.MappingNode):
        raise refuse(root, "expected flags and their values, such as lr: 0.001")
    seen: set[str] = set()
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode):
            raise refuse(key, "expected a flag's name before the colon")
        name = key.value.removeprefix("--").replace("-", "_")
        if name in seen:
            raise refuse(key, f"{name} is there twice")
        seen.add(name)
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for item in items:
            if not isinstance(item, yaml.ScalarNode) or item.tag == "tag:yaml.org,2002:null":
                raise refuse(key, f"{name}: expected a value, or a list of values")
        yield Entry(key.start_mark.line + 1, name, [item.value for item in items])
