"""What every command needs: the opened model, the screen, and names for its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from vae.config.options import Options
from vae.runs.trained import open_run
from vae.system.console import Console, short_path
from vae.system.errors import UsageError
from vae.system.files import FileError


class Session:
    """Opens the model that a command's options name, and reserves names for its results.

    A name is reserved by creating it, which fails if it exists: no earlier result is replaced unasked, and of two
    commands that run at once each gets names of its own. Leaving the `with` block removes what was never written to.
    """

    def __init__(self, options: Options, console: Console) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.console = console
        path = options.checkpoint or options.run or Path("outputs") / "latest"
        self.trained = open_run(path, device=options.device, data_dir=options.data_dir)
        self._options = options
        self._reserved: list[Path] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        for path in reversed(self._reserved):
            with suppress(OSError):  # a folder that holds results stays
                if path.is_dir():
                    path.rmdir()
                elif not path.stat().st_size:
                    path.unlink()

    @property
    def default_dir(self) -> Path:
        """The command's own folder: in the run's or, for a checkpoint outside a run, in the working directory."""
        trained, command = self.trained, self._options.name
        return trained.run_dir / command if trained.run_dir else Path(f"{trained.path.stem}-{command}")

    def paths(self, *names: str) -> list[Path]:
        """Reserve files for results that belong together, such as `interpolation.png` and `interpolation.gif`.

        Without `--output` they go into the command's own folder, and if one of the names is taken, all of them get the
        next free number: `interpolation-2.png`. `--output` is a folder for them, or a file that names all of them.
        """
        output = self._options.output
        paths = _paths_below(output, names) if output else [self.default_dir / name for name in names]
        return self._reserve(paths, lambda path: path.touch(exist_ok=False))

    def folder(self, name: str) -> Path:
        """Reserve a folder for many files: a new one of this name, numbered if that is taken, or `--output`."""
        output, overwrite = self._options.output, self._options.overwrite
        if not output and not overwrite:
            return self._reserve([self.default_dir / name], Path.mkdir)[0]
        folder = Path(output) if output else self.default_dir / name
        self._create_folder(folder)
        if any(folder.iterdir()) and not overwrite:
            raise UsageError(f"{folder} is not empty: choose another --output, or replace its files with --overwrite")
        return folder

    def wrote(self, *paths: Path) -> None:
        """Print where the results are."""
        self.console.say(f"wrote {', '.join(short_path(path) for path in paths)}")

    def _reserve(self, paths: list[Path], create: Callable[[Path], None]) -> list[Path]:
        """Create all of these paths, or the first numbered variant of them of which none exists."""
        self._create_folder(paths[0].parent)
        if self._options.overwrite:
            return paths
        numbered, number = paths, 1
        while True:
            try:
                for path in numbered:
                    create(path)
                    self._reserved.append(path)
                return numbered
            except FileExistsError:
                if self._options.output:
                    message = f"{path} exists: choose another --output, or replace it with --overwrite"
                    raise UsageError(message) from None
                number += 1
                numbered = [path.with_stem(f"{path.stem}-{number}") for path in paths]
            except OSError as error:
                raise FileError(f"can't write {path}: {error.strerror or error}") from None

    def _create_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"can't make {folder}: {error.strerror or error}") from None
        self._reserved.append(folder)


def _paths_below(output: str, names: Sequence[str]) -> list[Path]:
    """Where `--output` puts files of these names: into a folder, or beside each other under one file's name."""
    path = Path(output)
    if path.is_dir() or not path.suffix or output.endswith(("/", os.sep)):
        return [path / name for name in names]
    suffixes = [Path(name).suffix for name in names]
    if len(set(suffixes)) < len(suffixes):
        raise UsageError(f"--output {output}: this command writes {', '.join(names[:3])}: give a folder")
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--output {output}: expected a folder, or a file ending in {' or '.join(suffixes)}")
    return [path if suffix == path.suffix.lower() else path.with_suffix(suffix) for suffix in suffixes]
