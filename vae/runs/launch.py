"""Start a new run, or resume one that was stopped."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from vae.config import Config, presets
from vae.config.config import OWN, stored_config
from vae.data.datasets import would_download
from vae.model.build import model_from_state
from vae.runs import folders
from vae.runs.folders import Folders, relative_to_run
from vae.runs.run import Run
from vae.runs.seeds import PLACES, SeedGroup
from vae.system import checkpoint, memory
from vae.system.console import Console, short_path
from vae.system.distributed import process_group
from vae.system.errors import UsageError, UserError, one_line, tell
from vae.system.files import FileError, refuse_links
from vae.system.program import PROGRAM
from vae.training.divergence import DivergedError

# The knobs that may differ between a run and its continuation; all others define the run.
RESUMABLE = {"num_epochs", "device", "compile", "threads", "checkpoint_every", "sample_every", *PLACES}
RESUMABLE |= {"tsne_samples", "gif", "quiet", "final_eval", "num_importance_samples"}


@memory.explain_out_of_memory()
def train(given: dict[str, Any]) -> int:
    """Train a new run with the knobs given on the command line, or one for each of `--seeds`. Returns the exit code."""
    return _train_seeds(given) if "seeds" in given else _train_run(given)


@memory.explain_out_of_memory()
def resume(given: dict[str, Any]) -> int:
    """Continue the run in the folder `given["resume"]`, or the runs of `--seeds` in it. Returns the exit code."""
    typed = Path(given["resume"])
    given = {name: value for name, value in given.items() if name != "resume"}
    run_dir = Path(os.path.realpath(typed))
    if not run_dir.is_dir():
        raise UsageError(f"--resume {run_dir}: no such folder; expected a run's folder, such as outputs/latest")
    continue_runs = _resume_seeds if folders.is_seeds_dir(run_dir) else _resume_run
    return continue_runs(run_dir, given, typed=typed)


def _train_run(given: dict[str, Any], *, on_begin: Callable[[], None] = lambda: None) -> int:
    """Train a new run; `on_begin` is called when nothing is left to refuse."""
    config = presets.configure(given)
    with process_group(config.device) as processes:
        if processes.is_main:
            folders.check_name_is_free(config)
        with (
            Console(quiet=config.quiet or not processes.is_main) as console,
            closing(Run(config, console=console, processes=processes)) as run,
        ):
            run.start()
            on_begin()
            return run.train()


def _resume_run(
    run_dir: Path, given: dict[str, Any], *, typed: Path, on_begin: Callable[[], None] = lambda: None
) -> int:
    """Continue a run, whose folder was `typed` so; `on_begin` is called when nothing is left to refuse."""
    last = run_dir / "checkpoints" / "last.pt"
    state = checkpoint.load(last)
    model_from_state(state, last)  # fails if the weights don't belong to the configuration
    stored = stored_config(state["config"], last)
    config = _continued(stored, given, run_dir=run_dir, relative_dirs=state["places"])
    given = _with_places(run_dir, typed, config, given)
    config = dataclasses.replace(config, log_dir=given.get("log_dir", config.log_dir))
    if config.num_epochs < state["epoch"]:
        raise UsageError(f"--num_epochs {config.num_epochs}: the run has reached epoch {state['epoch']} already")
    with (
        process_group(config.device) as processes,
        Console(quiet=config.quiet or not processes.is_main) as console,
        closing(Run(config, console=console, fallback=state["fallback"], processes=processes)) as run,
    ):
        if config.lr_schedule == "cosine" and config.num_epochs != stored.num_epochs:
            console.say(f"note: the cosine now ends at epoch {config.num_epochs}, so the learning rate jumps here")
        run.restore(state, Folders(run_dir, Path(config.log_dir) / run_dir.name))
        run.relative_dirs |= {name: relative_to_run(run_dir, given[name]) for name in PLACES if name in given}
        on_begin()
        return run.train()


def _train_seeds(given: dict[str, Any]) -> int:
    _check_one_process()
    return _train_group(SeedGroup.create(given), {})


def _resume_seeds(run_dir: Path, given: dict[str, Any], *, typed: Path) -> int:
    _check_one_process()
    group = SeedGroup.open(run_dir)
    config = presets.configure({**group.flags, **group.places, "output_dir": str(run_dir.parent)})
    _check_resumable(config, given)
    return _train_group(group, _with_places(run_dir, typed, config, given))


def _check_one_process() -> None:
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("--seeds is for a single process: under torchrun, give one --seed at a time")


def _train_group(group: SeedGroup, given: dict[str, Any]) -> int:
    """Train the seeds that are not finished; one that fails by itself leaves the others their turn."""
    name = shlex.quote(short_path(group.run_dir))
    unfinished = []
    with group.lock():
        if given:
            group.change(given)
        refuse_links(group.log_path, *map(group.dir_of, group.seeds))
        console = Console(quiet=presets.configure(group.flags | group.passing).quiet)
        for number, seed in enumerate(group.seeds, start=1):
            if group.is_finished(seed):
                continue
            console.say(f"seed {seed}, {number} of {len(group.seeds)}")
            try:
                code = _train_seed(group, seed, given)
            except (DivergedError, SeedError) as error:
                tell(f"error: seed {seed}: {one_line(error)}")
                unfinished.append(seed)
                continue
            except KeyboardInterrupt:
                console.say(f"continue with  {PROGRAM} --resume {name}")
                raise
            if code:
                return code
        group.report(console)
    if unfinished:
        raise UserError(f"not finished: seed {', '.join(map(str, unfinished))}; see above, then --resume {name}")
    return 0


class SeedError(UserError):
    """One of several seeds has a run that can't be continued."""


def _train_seed(group: SeedGroup, seed: int, given: dict[str, Any]) -> int:
    run_dir = group.dir_of(seed)
    if not (run_dir / "checkpoints" / "last.pt").exists():
        return _train_run(group.flags_of(seed), on_begin=group.write)
    try:
        changes = {**group.changes_of(seed, RESUMABLE), **given, **group.places_of_runs}
        return _resume_run(run_dir, changes, typed=run_dir, on_begin=group.write)
    except FileError as error:
        raise SeedError(f"{error}; to train this seed anew, remove {short_path(run_dir)}") from None


def _continued(stored: Config, given: dict[str, Any], *, run_dir: Path, relative_dirs: dict[str, str]) -> Config:
    """The stored configuration with the flags that may change, and its folders as seen from here."""
    _check_resumable(stored, given)
    dirs = {name: os.path.normpath(run_dir / relative_dirs[name]) for name in PLACES if relative_dirs.get(name)}
    changed = {name: value for name, value in given.items() if name in RESUMABLE}
    return dataclasses.replace(stored, **{**dirs, "output_dir": str(run_dir.parent), "quiet": False, **changed})


def _with_places(run_dir: Path, typed: Path, config: Config, given: dict[str, Any]) -> dict[str, Any]:
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


def _check_resumable(stored: Config, given: dict[str, Any]) -> None:
    """Refuse flags that would make it another run."""
    for name, value in given.items():
        if name not in RESUMABLE and value not in (getattr(stored, name), "auto"):
            raise UsageError(
                f"--{name} belongs to the run (it is {getattr(stored, name)}): start a new one to change it"
            )
