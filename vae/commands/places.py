"""Names for a command's results, which replace nothing unasked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from vae.config.options import Options
from vae.runs.catalog import is_run
from vae.system.errors import UsageError
from vae.system.files import FileError, is_folder_name, refuse_links

MAX_PART = 60  # bytes of a part of a file's name, which is at most 255 long on common file systems


class Places:
    """Reserves names for the results of a command.

    A name is reserved by creating it, which fails if it exists: no earlier result is replaced unasked, and of two
    commands that run at once each gets names of its own. Leaving the `with` block removes what was never written to.

    Args:
        options: with `--output` and `--overwrite`.
        default_dir: gives the folder for results without `--output`; called only then.
        mark: ends their names, before the suffix.
    """

    def __init__(self, options: Options, default_dir: Callable[[], Path], *, mark: str = "") -> None:
        self._options, self._default_dir, self._mark = options, default_dir, mark
        self._reserved: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for path in reversed(self._reserved):
            with suppress(OSError):  # a folder that holds results stays
                if path.is_dir():
                    path.rmdir()
                elif not path.stat().st_size:
                    path.unlink()

    def paths(self, *names: str) -> list[Path]:
        """Reserve files for results that belong together, such as `interpolation_3-8.png` and `interpolation_3-8.gif`.

        Without `--output` they go into the command's own folder, and if one of the names is taken, all of them get the
        next free number: `interpolation_3-8-2.png`. `--output` is a folder for them, or a file that names all of them.
        """
        output = self._options.output
        names = tuple(f"{Path(name).stem}{self._mark}{Path(name).suffix}" for name in names)
        folder = Path(output) if output else self._default_dir()
        if output and not is_folder_name(output):
            return self._reserve(_named_after(folder, names), are_files=True)
        return self._reserve([folder / name for name in names], are_files=True)

    def folder(self, name: str) -> Path:
        """Reserve a folder for many files: a new one of this name, numbered if that is taken, or `--output`."""
        output, overwrite = self._options.output, self._options.overwrite
        folder = Path(output) if output else self._default_dir() / f"{name}{self._mark}"
        if not output and (not overwrite or is_run(folder)):
            return self._reserve([folder])[0]
        if not output:
            refuse_links(folder)
        self._create_folder(folder)
        if any(folder.iterdir()) and not overwrite:
            raise UsageError(f"{folder} is not empty: choose another --output, or replace its files with --overwrite")
        return folder

    def _reserve(self, paths: list[Path], *, are_files: bool = False) -> list[Path]:
        """Create all of these files or folders, or the first numbered variant of them of which none exists."""
        self._create_folder(paths[0].parent)
        if self._options.overwrite and are_files:
            return paths
        numbered, number = paths, 1
        while True:
            try:
                for path in numbered:
                    path.touch(exist_ok=False) if are_files else path.mkdir()
                    self._reserved.append(path)
                return numbered
            except FileExistsError:
                if self._options.output:
                    message = f"{path} exists: choose another --output, or replace it with --overwrite"
                    raise UsageError(message) from None
                number += 1
                ends = [path.suffix if are_files else "" for path in paths]  # a folder's name may hold a dot too
                numbered = [
                    path.with_name(f"{path.name.removesuffix(end)}-{number}{end}")
                    for path, end in zip(paths, ends, strict=True)
                ]
            except OSError as error:
                raise FileError(f"can't write {path}: {error.strerror or error}") from None

    def _create_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder.is_file():
            raise UsageError(f"{folder} is a file: choose another --output")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"can't make {folder}: {error.strerror or error}") from None
        self._reserved.append(folder)


def file_stem(*parts: str) -> str:
    """A file's name from the parts that tell it from others, without the empty ones: `samples_class7_seed0`."""
    return "_".join(filter(None, map(slug, parts)))


def slug(text: str) -> str:
    """Text as part of a file's name on any file system: letters, digits, dots and dashes, at most MAX_PART bytes."""
    safe = re.sub(r"[^\w.]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return safe.encode(errors="ignore")[:MAX_PART].decode(errors="ignore")


def _named_after(path: Path, names: Sequence[str]) -> list[Path]:
    """Files beside each other under one file's name, each with the suffix of one of these names."""
    suffixes = [Path(name).suffix for name in names]
    if len(set(suffixes)) < len(suffixes):
        raise UsageError(f"--output {path}: this command writes {', '.join(names[:3])}: give a folder")
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--output {path}: expected a folder, or a file ending in {' or '.join(suffixes)}")
    return [path if suffix == path.suffix.lower() else path.with_suffix(suffix) for suffix in suffixes]
