"""A run's folders: made once, never shared, never overwritten unless asked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from datetime import datetime
from pathlib import Path

from vae.config import Config
from vae.runs.record import read_description, read_seeds
from vae.system.console import short_path
from vae.system.errors import UsageError
from vae.system.files import FileError, refuse_links, take_lock
from vae.system.program import PROGRAM

FILLED = ("checkpoints", "samples", "reconstructions", "latent_scatter", "epochs")  # folders that training fills
SEEDS = "seeds.json"  # in the folder of the runs of `--seeds`
MAX_STEM = 100  # characters of a name made from the model's, which may have hundreds of layers


class Folders:
    """Where a run writes: `run_dir` in --output_dir, `log_path` in --log_dir, and the files in `run_dir`."""

    def __init__(self, run_dir: Path, log_path: Path) -> None:
        self.run_dir, self.log_path = run_dir, log_path
        self.lock = run_dir / ".lock"  # held by the process that trains this run
        self.checkpoints = run_dir / "checkpoints"
        self.last = self.checkpoints / "last.pt"  # what --resume continues from
        self.best = self.checkpoints / "best.pt"  # by validation loss; exists only with a validation set
        self.config = run_dir / "config.json"
        self.metrics = run_dir / "metrics.jsonl"
        self.results = run_dir / "results.json"  # exists only once the run has finished
        self.stopped = run_dir / "stopped.txt"  # how to go on, after a signal or a failure at the end

    @property
    def to_resume(self) -> Path:
        """What `--resume` should be given: the run's folder, or that of the seeds to which the run belongs."""
        return self.run_dir.parent if is_seeds_dir(self.run_dir.parent) else self.run_dir

    @property
    def resume_command(self) -> str:
        """The command that continues the run."""
        return f"{PROGRAM} --resume {shlex.quote(short_path(self.to_resume))}"


def is_seeds_dir(folder: Path) -> bool:
    """Whether a folder is that of several seeds, `--seeds`."""
    return (folder / SEEDS).is_file()


def check_name_is_free(config: Config) -> None:
    """Refuse a taken `--run_name`, or with `--overwrite` what is not a run, before anything is loaded or written."""
    if not config.run_name:
        return
    folders = _folders(config, config.run_name)
    for folder, is_ours in ((folders.run_dir, _is_run), (folders.log_path, _is_log)):
        if not os.path.lexists(folder):
            continue
        if not config.overwrite:
            raise UsageError(
                f"--run_name {config.run_name}: {folder} is there already; choose another name, "
                f"continue it with --resume {folders.run_dir}, or replace it with --overwrite"
            )
        if not is_ours(folder):
            raise UsageError(f"--overwrite: {folder} is not a run of this program: remove it, or choose another name")


def leftover(config: Config) -> Folders | None:
    """The folders of the run of this name, if a kill has ended it before its first checkpoint; else `None`."""
    folders = _folders(config, config.run_name)
    if not _is_run(folders.run_dir) or is_seeds_dir(folders.run_dir) or any(folders.checkpoints.glob("*.pt")):
        return None
    has_epochs = folders.metrics.exists() and folders.metrics.stat().st_size
    return None if has_epochs else folders


def create(config: Config, *, suffix: str = "", leftover: Folders | None = None) -> Folders:
    """Make the folders of a new run, named `--run_name` or after the time and the model; or take over `leftover`.

    Nothing in `leftover` is removed: of several processes that take it over, its lock lets one train.
    """
    if leftover:
        check_written(leftover)
        leftover.log_path.mkdir(parents=True, exist_ok=True)
        return leftover
    check_name_is_free(config)
    stem = config.run_name or f"{datetime.now():%Y%m%d-%H%M%S}-{config.model_name}"[:MAX_STEM] + suffix
    try:
        if config.overwrite:
            _remove(_folders(config, stem))
        for attempt in range(1, 1000):
            folders = _folders(config, stem if attempt == 1 else f"{stem}-{attempt}")
            if _claim(folders):
                return folders
            if config.run_name:
                raise UsageError(f"--run_name {config.run_name}: another run has just taken that name")
    except OSError as error:
        raise FileError(f"can't make the run's folders: {error.strerror or error}: {error.filename}") from None
    raise FileError(f"can't find a free name like {stem} in {config.output_dir}")


def implied(name: str, *run_dirs: Path) -> list[Path]:
    """The places of data or logs that a command line stands for when it names a run's folder, by these paths.

    They are the defaults of `data_dir` or `log_dir`, beside the run's output folder and in the working directory. Any
    other place, which only a file of the run names, may be a stranger's choice.
    """
    default, places = getattr(Config, name), []
    for run_dir in run_dirs or (Path(),):
        output_dir = Folders(run_dir, run_dir).to_resume.parent
        group = run_dir.relative_to(output_dir).parent if name == "log_dir" else ""  # of several seeds
        places += [output_dir.parent / default / group, Path(default, group)]
    return places


def is_implied(name: str, place: Path, *run_dirs: Path) -> bool:
    """Whether a place is among those that are `implied`."""
    return os.path.realpath(place) in map(os.path.realpath, implied(name, *run_dirs))


def check_written(folders: Folders) -> None:
    """Refuse a log folder with anything but logs in it, and folders that are links."""
    refuse_links(folders.run_dir, folders.log_path, *(folders.run_dir / name for name in FILLED))
    if folders.log_path.exists() and not _is_log(folders.log_path):
        raise FileError(f"{folders.log_path} holds more than TensorBoard's logs: move it, or what is in it, elsewhere")


def remove_scratch_files(folders: Folders) -> None:
    """Remove what a killed process has half written; the caller holds the run's lock."""
    for folder in (folders.run_dir, *(folders.run_dir / name for name in FILLED)):
        for scratch in folder.glob(".*.tmp"):
            scratch.unlink(missing_ok=True)


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a config.json of ours, or nothing yet but the lock that is made before it; or seeds."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if all(path.name.startswith((".lock", ".config.json")) for path in folder.iterdir()):
        return True
    try:
        if is_seeds_dir(folder):
            read_seeds(folder / SEEDS)
            return all(_is_run(path) for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
        read_description(folder / "config.json")
    except FileError:
        return False
    return True


def _is_log(folder: Path) -> bool:
    """Whether a folder holds TensorBoard's files, or such folders of splits or seeds, and nothing else."""
    files, folders = r"events\.out\.tfevents\..*|projector_config\.pbtxt|\d{5}", r"train|val|test|seed-\d+"
    return folder.is_dir() and all(
        re.fullmatch(files, path.name) or (re.fullmatch(folders, path.name) and not path.is_symlink() and _is_log(path))
        for path in folder.iterdir()
    )


def _folders(config: Config, name: str) -> Folders:
    return Folders(Path(config.output_dir) / name, Path(config.log_dir) / name)


def _remove(folders: Folders) -> None:
    """Remove a run's folders, or those of several seeds, unless they are still training."""
    for lock in (folders.lock, *folders.run_dir.glob("seed-*/.lock")):
        if lock.exists():
            with take_lock(lock):
                pass
    for folder in (folders.run_dir, folders.log_path):
        if folder.exists():
            shutil.rmtree(folder)


def _claim(folders: Folders) -> bool:
    """Make both folders or neither; of two processes that want the same name, `mkdir` lets one win."""
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


def link_latest(run_dir: Path) -> None:
    """Let `outputs/latest` lead to this run, unless links can't be made or `latest` is a folder."""
    output_dir = run_dir.parent.parent if is_seeds_dir(run_dir.parent) else run_dir.parent
    link, scratch = output_dir / "latest", output_dir / f".latest.{os.getpid()}"
    try:
        scratch.symlink_to(run_dir.relative_to(output_dir), target_is_directory=True)
        scratch.replace(link)
    except OSError:
        scratch.unlink(missing_ok=True)


def relative_to_run(run_dir: Path, path: str) -> str:
    """A relative path as seen from the run's folder, so that it holds from any working directory; others unchanged."""
    return path if Path(path).is_absolute() else os.path.relpath(Path(path).resolve(), run_dir.resolve())
