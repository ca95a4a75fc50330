"""Where a command writes: under names of its own that never replace an earlier result unasked."""

from __future__ import annotations

import os
from pathlib import Path

from vae.system.errors import UsageError
from vae.system.files import FileError

MAX_NUMBER = 10_000


def choose(names: tuple[str, ...], *, default: Path, output: str = "", overwrite: bool = False) -> list[Path]:
    """Paths for files that belong together, and the folder to hold them.

    Args:
        names: one a file, such as `interpolation.png` and `interpolation.gif`.
        default: the folder that is used without `output`; where one of the names is taken there, all of them get
            the next free number, as in `interpolation-2.png`.
        output: a folder, or a file that gives its name to all of them; what is there already is refused.
        overwrite: replace what is there.

    Raises:
        UsageError: a file that is there already, or a file's name for what doesn't fit in one.
        FileError: the folder can't be made.
    """
    if not output:
        paths = [default / name for name in names] if overwrite else _numbered(default, names)
    elif Path(output).suffix and not Path(output).is_dir() and not output.endswith(("/", os.sep)):
        paths = _named_after(Path(output), names)
    else:
        paths = [Path(output) / name for name in names]
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: choose another --output")
        if output and not overwrite and os.path.lexists(path):
            raise UsageError(f"{path} is there already: choose another --output, or replace it with --overwrite")
    make(paths[0].parent)
    return paths


def choose_folder(name: str, *, default: Path, output: str = "", overwrite: bool = False) -> Path:
    """A folder of a command's own: `default / name`, numbered where that is taken, or `output`.

    Raises:
        UsageError: something is in `output` already.
        FileError: the folder can't be made.
    """
    folder = Path(output) if output else default / name if overwrite else _numbered(default, (name,))[0]
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: this command fills a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} holds files already: choose another --output, or replace them with --overwrite")
    make(folder)
    return folder


def _numbered(folder: Path, names: tuple[str, ...]) -> list[Path]:
    for number in range(1, MAX_NUMBER):
        ending = "" if number == 1 else f"-{number}"
        paths = [folder / f"{Path(name).stem}{ending}{Path(name).suffix}" for name in names]
        if not any(os.path.lexists(path) for path in paths):
            return paths
    raise FileError(f"{folder} is full of earlier results: give another --output")


def _named_after(file: Path, names: tuple[str, ...]) -> list[Path]:
    suffixes = [Path(name).suffix for name in names]
    if len(set(suffixes)) < len(suffixes):
        raise UsageError(f"--output {file}: this command writes {', '.join(names[:3])}: give a folder")
    if file.suffix.lower() not in suffixes:
        raise UsageError(f"--output {file}: expected a folder, or a file ending in {' or '.join(suffixes)}")
    return [file if suffix == file.suffix.lower() else file.with_suffix(suffix) for suffix in suffixes]


def make(folder: Path) -> None:
    """Make a folder for results, where there is none.

    Raises:
        FileError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"can't make {folder}: {error.strerror or error}") from None
