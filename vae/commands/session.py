"""What every command needs: the opened model, the screen, and names for its results."""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from vae.commands.generate import check_classes
from vae.config.options import ModelOptions
from vae.config.presets import command_line
from vae.runs.trained import Trained, open_run
from vae.system.console import Console, short_path
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.errors import UsageError
from vae.system.files import FileError, refuse_links

MAX_PART = 60  # bytes of a part of a file's name, which is at most 255 long on common file systems


class Session:
    """Opens the model that a command's options name, and reserves names for its results.

    A name is reserved by creating it, which fails if it exists: no earlier result is replaced unasked, and of two
    commands that run at once each gets names of its own. Leaving the `with` block removes what was never written to.
    """

    def __init__(self, options: ModelOptions, console: Console, processes: ProcessGroup = SINGLE_PROCESS) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.console, self.processes = console, processes
        path = options.checkpoint or options.run or Path("outputs") / "latest"
        self.trained = open_run(path, device=processes.device or options.device, data_dir=options.data_dir)
        _check_classes(self.trained, getattr(options, "digit", ()))
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
        folder = trained.run_dir / command if trained.run_dir else Path(f"{trained.path.stem}-{command}")
        refuse_links(folder)
        return folder

    def paths(self, *names: str) -> list[Path]:
        """Reserve files for results that belong together, such as `interpolation_3-8.png` and `interpolation_3-8.gif`.

        Without `--output` they go into the command's own folder, and if one of the names is taken, all of them get the
        next free number: `interpolation_3-8-2.png`. `--output` is a folder for them, or a file that names all of them.
        """
        output = self._options.output
        names = tuple(f"{Path(name).stem}{self._checkpoint}{Path(name).suffix}" for name in names)
        paths = _paths_below(output, names) if output else [self.default_dir / name for name in names]
        return self._reserve(paths, are_files=True)

    def folder(self, name: str) -> Path:
        """Reserve a folder for many files: a new one of this name, numbered if that is taken, or `--output`."""
        output, overwrite = self._options.output, self._options.overwrite
        folder = Path(output) if output else self.default_dir / f"{name}{self._checkpoint}"
        if not output:
            if not overwrite:
                return self._reserve([folder])[0]
            refuse_links(folder)
        self._create_folder(folder)
        if any(folder.iterdir()) and not overwrite:
            raise UsageError(f"{folder} is not empty: choose another --output, or replace its files with --overwrite")
        return folder

    def paths_in(self, folder: str, files: Sequence[str], beside: Sequence[str]) -> list[Path]:
        """Reserve files of these very names, and others beside them, in a folder as `folder` makes it.

        If `--output` names a file, they lie beside each other under its name: digits_encoder.onnx, or digits.onnx for
        a single one of `files`, and digits_onnx_example.npz.
        """
        output = self._options.output
        if not output or _is_folder(output):
            directory = self.folder(folder)
            return [directory / name for name in (*files, *beside)]
        path, suffix = Path(output), Path(files[0]).suffix
        if path.suffix.lower() != suffix:
            raise UsageError(f"--output {output}: expected a folder, or a file ending in {suffix}")
        named = [path] if len(files) == 1 else [path.with_name(f"{path.stem}_{name}") for name in files]
        others = [path.with_name(f"{path.stem}_{suffix[1:]}_{name}") for name in beside]
        return self._reserve([*named, *others], are_files=True)

    @property
    def is_of_last_checkpoint(self) -> bool:
        """Whether the model is that of a run's last checkpoint."""
        return self.trained.run_dir is not None and self.trained.path.name == "last.pt"

    @property
    def _checkpoint(self) -> str:
        """What tells results of a run's other checkpoints from those of its last: `_best`."""
        is_other = self.trained.run_dir is not None and not self.is_of_last_checkpoint
        return f"_{slug(self.trained.path.stem)}" if is_other else ""

    def wrote(self, *paths: Path) -> None:
        """Print where the results are, a line each."""
        for number, path in enumerate(paths):
            self.console.say(f"{'' if number else 'wrote':5} {short_path(path)}")

    def _reserve(self, paths: list[Path], *, are_files: bool = False) -> list[Path]:
        """Create all of these files or folders, or the first numbered variant of them of which none exists."""
        self._create_folder(paths[0].parent)
        if self._options.overwrite:
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
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"can't make {folder}: {error.strerror or error}") from None
        self._reserved.append(folder)


def _check_classes(trained: Trained, digits: Sequence[int]) -> None:
    """Refuse classes that the data lacks, and any without a class input, with the command that trains one with it."""
    if not digits:
        return
    check_classes(digits, len(trained.class_names))
    if trained.model.num_classes:
        return
    prior = "standard" if trained.config.prior == "vamp" else trained.config.prior  # vamp knows no classes
    command = command_line(dataclasses.replace(trained.config, conditional=True, prior=prior))
    raise UsageError(f"--digit {digits[0]}: this model was trained without classes; train one with them: {command}")


def file_stem(*parts: str) -> str:
    """A file's name from the parts that tell it from others, without the empty ones: `samples_class7_seed0`."""
    return "_".join(filter(None, map(slug, parts)))


def class_slug(trained: Trained, label: int) -> str:
    """A class's name as a part of a file's name, or its number where nothing of the name can stay."""
    return slug(trained.class_names[label]) or f"class{label}"


def slug(text: str) -> str:
    """Text as part of a file's name on any file system: letters, digits, dots and dashes, at most MAX_PART bytes."""
    safe = re.sub(r"[^\w.]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return safe.encode(errors="ignore")[:MAX_PART].decode(errors="ignore")


def _is_folder(output: str) -> bool:
    """Whether `--output` names a folder and not a file."""
    path = Path(output)
    return path.is_dir() or not path.suffix or output.endswith(("/", os.sep))


def _paths_below(output: str, names: Sequence[str]) -> list[Path]:
    """Where `--output` puts files of these names: into a folder, or beside each other under one file's name."""
    path = Path(output)
    if _is_folder(output):
        return [path / name for name in names]
    suffixes = [Path(name).suffix for name in names]
    if len(set(suffixes)) < len(suffixes):
        raise UsageError(f"--output {output}: this command writes {', '.join(names[:3])}: give a folder")
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--output {output}: expected a folder, or a file ending in {' or '.join(suffixes)}")
    return [path if suffix == path.suffix.lower() else path.with_suffix(suffix) for suffix in suffixes]
