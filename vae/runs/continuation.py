"""What a run goes on with: its last checkpoint, and the flags of its continuation, of which most belong to the run."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from vae.config import Config
from vae.config.config import stored_config
from vae.config.fields import OWN
from vae.data.datasets import would_download
from vae.model.build import model_from_state
from vae.model.own import Nets
from vae.runs import catalog, folders
from vae.runs.folders import Folders
from vae.runs.seeds import PLACES
from vae.system import checkpoint
from vae.system.console import short_path
from vae.system.errors import UsageError
from vae.system.files import FileError
from vae.system.program import PROGRAM

# The knobs that may differ between a run and its continuation; all others define the run.
RESUMABLE = {"num_epochs", "device", "compile", "threads", "checkpoint_every", "sample_every", *PLACES}
RESUMABLE |= {"nets", "tsne_samples", "gif", "quiet", "final_eval", "num_importance_samples"}
OWN_PLACES = ("run_name", "output_dir", "overwrite")  # what a run's folder itself answers for


class Continuation(NamedTuple):
    """A run to go on with."""

    run_dir: Path
    state: dict[str, Any]  # of its last checkpoint
    config: Config
    places: dict[str, str]  # `data_dir` and `log_dir`, where the command line names them

    @property
    def folders(self) -> Folders:
        """Where it writes."""
        return Folders(self.run_dir, Path(self.config.log_dir) / self.run_dir.name)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return catalog.is_finished(self.run_dir, self.config)

    @property
    def moves_cosine(self) -> bool:
        """Whether its cosine schedule now ends at another epoch."""
        return self.config.lr_schedule == "cosine" and self._has_another_length

    @property
    def moves_phases(self) -> bool:
        """Whether a part of its run, such as that of distorted images, now ends at another epoch."""
        config = self.config
        distorts_a_part = config.augment > 0 and config.augment_until < 1
        return (distorts_a_part or config.elbo_until > 0) and self._has_another_length

    @property
    def _has_another_length(self) -> bool:
        return self.config.num_epochs != self.state["config"]["num_epochs"]


def read_continuation(run_dir: Path, given: dict[str, Any], *, typed: Path, nets: Nets | None = None) -> Continuation:
    """Read the last checkpoint of the run in a folder, which was `typed` so, for a continuation with the flags given.

    `nets` are those that a person has named, for a run that has its own.

    Raises:
        FileError: it has none, or one that can't be used.
        UsageError: the flags make it another run, or don't name a place where it would write.
    """
    last = Folders(run_dir, run_dir).last
    state = checkpoint.load(last)
    model_from_state(state, last, nets)  # fails if the weights don't belong to the configuration
    stored = stored_config(state["config"], last)
    config = _continued(stored, given, run_dir=run_dir, relative_dirs=state["places"])
    given = with_places(run_dir, typed, config, given)
    config = dataclasses.replace(config, log_dir=given.get("log_dir", config.log_dir))
    if config.num_epochs < state["epoch"]:
        raise UsageError(f"--num_epochs {config.num_epochs}: the run has reached epoch {state['epoch']} already")
    return Continuation(run_dir, state, config, {name: given[name] for name in PLACES if name in given})


def look_for(config: Config, given: dict[str, Any], nets: Nets | None = None) -> Continuation | Folders | None:
    """The run of a command line that names it, for `--resume auto`.

    Returns:
        The run; or the folders that a kill has left of it before its first checkpoint; or `None` if there is nothing.

    Raises:
        FileError: there is something else, or a run that can't be continued.
        UsageError: the run is another one than the command line's.
    """
    run_dir = named_dir(config)
    if folders.is_seeds_dir(run_dir):
        raise UsageError(f"--run_name {config.run_name}: {run_dir} holds several runs: give their --seeds too")
    if leftover := folders.leftover(config):
        return leftover
    if not run_dir.is_dir():
        folders.check_name_is_free(config)
        return None
    try:
        return read_continuation(run_dir, flags_of_line(config, given), typed=run_dir, nets=nets)
    except FileError as error:
        way_out = f"move {short_path(run_dir)} away to begin the run anew, or choose another --run_name"
        raise FileError(f"{error}; {way_out}") from None


def named_dir(config: Config) -> Path:
    """The folder of the run that a command line names."""
    return Path(os.path.realpath(Path(config.output_dir) / config.run_name))


def flags_of_line(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """What a command line that begins a run says of its continuation: every knob that defines it, and what was given.

    The device is always the line's, since the processes have been joined for it.
    """
    named = {name for name in RESUMABLE if name in given} | {"device"}
    knobs = config.to_dict()
    return {name: knobs[name] for name in knobs if name not in (*OWN_PLACES, *(RESUMABLE - named))}


def _continued(stored: Config, given: dict[str, Any], *, run_dir: Path, relative_dirs: dict[str, str]) -> Config:
    """The stored configuration with the flags that may change, and its folders as seen from here."""
    check_resumable(stored, given)
    dirs = {name: os.path.normpath(run_dir / relative_dirs[name]) for name in PLACES if relative_dirs.get(name)}
    changed = {name: value for name, value in given.items() if name in RESUMABLE}
    return dataclasses.replace(stored, **{**dirs, "output_dir": str(run_dir.parent), "quiet": False, **changed})


def with_places(run_dir: Path, typed: Path, config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """The flags given, with that of the logs if the run was moved together with them.

    Raises:
        UsageError: the run would write to a place that only its own files name: they may be a stranger's.
    """
    paths, data_dir = (run_dir, Path.cwd() / typed), Path(config.data_dir)
    written = {"log_dir": Path(config.log_dir)}
    has_classifier = config.final_eval and config.dataset not in OWN
    if has_classifier or would_download(config.dataset, data_dir, binarize=config.binarize):
        written["data_dir"] = data_dir
    unnamed = {
        name: short_path(place)
        for name, place in written.items()
        if name not in given and not folders.is_implied(name, place, *paths)
    }
    beside = folders.implied("log_dir", run_dir)[0]
    if _is_moved(written["log_dir"] / run_dir.name, beside / run_dir.name) and unnamed.pop("log_dir", ""):
        given = {**given, "log_dir": os.path.relpath(beside)}
    if unnamed:
        flags = " ".join(f"--{name} {shlex.quote(place)}" for name, place in unnamed.items())
        raise UsageError(
            f"this run would write to {' and '.join(unnamed.values())}, as its own files say and this command doesn't: "
            f"name that place, or another, with  {PROGRAM} --resume {shlex.quote(str(typed))} {flags}"
        )
    return given


def _is_moved(recorded: Path, log_path: Path) -> bool:
    """Whether a log folder was moved, or copied, from the recorded place: it may be another run's of the same name."""
    old, new = ({path.name for path in folder.rglob("events.out.*")} for folder in (recorded, log_path))
    return log_path.is_dir() and (not recorded.exists() or not old.isdisjoint(new))


def check_resumable(stored: Config, given: dict[str, Any]) -> None:
    """Refuse flags that would make it another run."""
    if given.get("nets") and not stored.nets:
        raise UsageError(f"--nets {given['nets']}: this run has the built-in nets; start a new one to change them")
    for name, value in given.items():
        if name not in RESUMABLE and value not in (getattr(stored, name), "auto"):
            raise UsageError(
                f"--{name} belongs to the run (it is {getattr(stored, name)}): start a new one to change it"
            )
