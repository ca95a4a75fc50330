"""A run's folders: made once, never shared, never overwritten unasked."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vae.config import Config
from vae.runs.record import read_facts
from vae.system.errors import UsageError
from vae.system.files import FileError, take_lock

WRITTEN = {"checkpoints", "samples", "reconstructions", "latent_scatter"}  # folders in a run's that training fills
LONGEST_STEM = 100  # letters of a name that is made up; a net may have hundreds of layers
BEFORE_CONFIG = {".lock", "checkpoints", "metrics.jsonl"}


@dataclass(frozen=True)
class Folders:
    """Where a run writes: `run_dir` in outputs/, `log_path` in runs/."""

    run_dir: Path
    log_path: Path

    @property
    def lock(self) -> Path:
        """Held by the process that trains this run."""
        return self.run_dir / ".lock"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.run_dir / "checkpoints"

    @property
    def last(self) -> Path:
        """The checkpoint that a resumed run starts from."""
        return self.checkpoints / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation loss; there is one only with a validation set."""
        return self.checkpoints / "best.pt"

    @property
    def config(self) -> Path:
        """The run's configuration, versions, seed and device."""
        return self.run_dir / "config.json"

    @property
    def metrics(self) -> Path:
        """A line of JSON per epoch."""
        return self.run_dir / "metrics.jsonl"

    @property
    def results(self) -> Path:
        """The closing figures; there only when a run has finished."""
        return self.run_dir / "results.json"


def check_name_is_free(config: Config) -> None:
    """Refuse a taken `--run_name` before anything is loaded or written.

    Raises:
        UsageError: a run of that name is there, or something that is no run and so is never replaced.
    """
    if not config.run_name:
        return
    folders = _folders(config, config.run_name)
    if config.overwrite:
        for folder, ours in ((folders.run_dir, _is_run), (folders.log_path, _is_log)):
            if os.path.lexists(folder) and not ours(folder):
                raise UsageError(f"--overwrite: {folder} is no run of ours: remove it yourself, or choose another name")
        return
    for folder in (folders.run_dir, folders.log_path):
        if os.path.lexists(folder):
            raise UsageError(
                f"--run_name {config.run_name}: {folder} is there already; choose another name, "
                f"continue it with --resume {folders.run_dir}, or replace it with --overwrite"
            )


def create(config: Config) -> Folders:
    """Make the folders of a new run, under its name or the time and the model's name.

    Raises:
        UsageError: the name is taken.
        FileError: the folders can't be made.
    """
    check_name_is_free(config)
    stem = config.run_name or f"{datetime.now():%Y%m%d-%H%M%S}-{config.model_name}"[:LONGEST_STEM]
    try:
        if config.run_name and config.overwrite:
            folders = _folders(config, stem)
            if folders.lock.exists() and (lock := take_lock(folders.lock)):  # nobody trains it
                lock.close()
            for folder in (folders.run_dir, folders.log_path):
                if folder.exists():
                    shutil.rmtree(folder)
        for attempt in range(1, 1000):
            folders = _folders(config, stem if attempt == 1 else f"{stem}-{attempt}")
            if _claim(folders):
                return folders
            if config.run_name:
                raise UsageError(f"--run_name {config.run_name}: another run has just taken that name")
    except OSError as error:
        raise FileError(f"can't make the run's folders: {error.strerror or error}: {error.filename}") from None
    raise FileError(f"can't find a free name like {stem} in {config.output_dir}")


def check_log(folders: Folders) -> None:
    """Refuse to log into a folder that holds something else: a stranger's checkpoint may name any.

    Raises:
        FileError: it does.
    """
    if folders.log_path.exists() and not _is_log(folders.log_path):
        raise FileError(f"{folders.log_path} is no log folder of ours: move it, or what lies in it, elsewhere")


def sweep(folders: Folders) -> None:
    """Remove what a killed process had half written; whoever calls holds the run's lock."""
    for folder in (folders.run_dir, *(inner for inner in folders.run_dir.iterdir() if inner.name in WRITTEN)):
        for scratch in folder.glob(".*.tmp"):
            scratch.unlink(missing_ok=True)


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's: its config.json is one of ours, or it has only what a run makes before that."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if {path.name for path in folder.iterdir()} <= BEFORE_CONFIG:
        return True
    try:
        read_facts(folder / "config.json")
    except FileError:
        return False
    return True


def _is_log(folder: Path) -> bool:
    """Whether a folder holds TensorBoard's files and nothing else."""
    pattern = r"events\.out\.tfevents\..*|projector_config\.pbtxt|\d{5}"
    return folder.is_dir() and all(re.fullmatch(pattern, path.name) for path in folder.iterdir())


def _folders(config: Config, name: str) -> Folders:
    return Folders(Path(config.output_dir) / name, Path(config.log_dir) / name)


def _claim(folders: Folders) -> bool:
    """Make both folders, or neither; `mkdir` lets one of two racing runs win."""
    for folder in (folders.run_dir, folders.log_path):
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folders.run_dir.mkdir()
    except FileExistsError:
        return False
    try:
        folders.log_path.mkdir()
    except OSError as error:
        folders.run_dir.rmdir()
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def point_latest(run_dir: Path) -> None:
    """Let `outputs/latest` lead to this run; left undone where links can't be made or `latest` is a folder."""
    link = run_dir.parent / "latest"
    scratch = run_dir.parent / f".latest.{os.getpid()}"
    try:
        scratch.symlink_to(run_dir.name, target_is_directory=True)
        scratch.replace(link)
    except OSError:
        scratch.unlink(missing_ok=True)


def seen_from(run_dir: Path, path: str) -> str:
    """A relative path as seen from the run's folder, where it stays true from any working directory; others as is."""
    return path if Path(path).is_absolute() else os.path.relpath(Path(path).resolve(), run_dir.resolve())
