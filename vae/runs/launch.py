"""Start a new run, or resume one that was stopped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from vae.config import Config, presets
from vae.config.parsers import AUTO
from vae.config.presets import knob_text
from vae.model.own import NOTHING, Own, load_nets, missing_nets
from vae.runs import folders
from vae.runs.continuation import (
    RESUMABLE,
    Continuation,
    check_resumable,
    flags_of_line,
    look_for,
    named_dir,
    read_continuation,
    with_places,
)
from vae.runs.folders import Folders, relative_to_run
from vae.runs.run import Run
from vae.runs.seeds import SeedGroup
from vae.system import memory
from vae.system.console import Console, short_path
from vae.system.distributed import ProcessGroup, process_group
from vae.system.errors import UsageError, UserError, check_single_process, one_line, tell
from vae.system.files import FileError, refuse_links
from vae.system.program import PROGRAM
from vae.training.divergence import DivergedError

OnBegin = Callable[[Run], object]  # called when nothing is left to refuse


@memory.explain_out_of_memory()
def train(given: dict[str, Any]) -> int:
    """Train a new run with the knobs given on the command line, or one for each of `--seeds`. Returns the exit code."""
    own = _own(given)
    return _train_seeds(given, own) if "seeds" in given else train_run(presets.configure(given), own)


def _own(given: dict[str, Any]) -> Own:
    """The nets that a command line names: the only place from which a command takes code."""
    return Own(nets=load_nets(given["nets"])) if given.get("nets") else NOTHING


@memory.explain_out_of_memory()
def resume(given: dict[str, Any], own: Own | None = None) -> int:
    """Continue the run in the folder `given["resume"]`, or the runs of `--seeds` in it. Returns the exit code.

    `own` are nets and data that are given in Python, where the flags are not those of a command line.
    """
    own = own or _own(given)
    typed = Path(given["resume"])
    given = {name: value for name, value in given.items() if name != "resume"}
    if str(typed) == AUTO:
        return _resume_auto(given, own)
    run_dir = Path(os.path.realpath(typed))
    if not run_dir.is_dir():
        raise UsageError(f"--resume {run_dir}: no such folder; expected a run's folder, such as outputs/latest")
    continue_runs = _resume_seeds if folders.is_seeds_dir(run_dir) else _resume_run
    return continue_runs(run_dir, given, own, typed=typed)


def _resume_auto(given: dict[str, Any], own: Own) -> int:
    """Continue the run that `--run_name` names, or begin it: the same command again, whatever has ended it before."""
    config = presets.configure({name: value for name, value in given.items() if name != "seeds"})
    if "seeds" in given:
        run_dir = named_dir(config)
        if folders.is_seeds_dir(run_dir):
            flags = flags_of_line(config, given) | {"seeds": given["seeds"]}
            return _resume_seeds(run_dir, flags, own, typed=run_dir)
        return _train_seeds(given, own, leftover=folders.leftover(config))
    with process_group(config.device) as processes:
        there = processes.from_main(lambda: look_for(config, given, own.nets))
        if not isinstance(there, Continuation):
            return _begin(config, own, processes, leftover=there)
        if processes.from_main(lambda: there.is_finished):
            with Console(quiet=config.quiet or not processes.is_main) as console:
                console.say(f"{short_path(there.run_dir)} has finished: epoch {there.state['epoch']}, nothing to do")
            return 0
        return _continue(there, own, processes)


def train_run(config: Config, own: Own = NOTHING, *, on_begin: OnBegin = lambda run: None) -> int:
    """Train a new run. Returns the exit code."""
    with process_group(config.device) as processes:
        processes.from_main(lambda: folders.check_name_is_free(config))
        return _begin(config, own, processes, on_begin=on_begin)


def _begin(
    config: Config,
    own: Own,
    processes: ProcessGroup,
    *,
    leftover: Folders | None = None,
    on_begin: OnBegin = lambda run: None,
) -> int:
    """Train a new run, in new folders or in those that a kill has left before the first checkpoint."""
    with (
        Console(quiet=config.quiet or not processes.is_main) as console,
        closing(Run(config, console=console, processes=processes, own=own)) as run,
    ):
        run.start(leftover)
        on_begin(run)
        return run.train()


def _resume_run(
    run_dir: Path, given: dict[str, Any], own: Own, *, typed: Path, on_begin: OnBegin = lambda run: None
) -> int:
    """Continue a run, whose folder was `typed` so."""
    run = read_continuation(run_dir, given, typed=typed, nets=own.nets)
    with process_group(run.config.device) as processes:
        return _continue(processes.from_main(lambda: run), own, processes, on_begin=on_begin)


def _continue(
    continuation: Continuation, own: Own, processes: ProcessGroup, *, on_begin: OnBegin = lambda run: None
) -> int:
    """Continue a run. All processes go on from the checkpoint that the main one has read."""
    config, state = continuation.config, continuation.state
    with (
        Console(quiet=config.quiet or not processes.is_main) as console,
        closing(Run(config, console=console, fallback=state["fallback"], processes=processes, own=own)) as run,
    ):
        if continuation.moves_cosine:
            console.say(f"note: the cosine now ends at epoch {config.num_epochs}, so the learning rate jumps here")
        if continuation.moves_phases:
            console.say(f"note: --augment_until and --elbo_until are now fractions of {config.num_epochs} epochs")
        run.restore(state, continuation.folders)
        places = {name: relative_to_run(continuation.run_dir, path) for name, path in continuation.places.items()}
        run.relative_dirs |= places
        on_begin(run)
        return run.train()


def _train_seeds(given: dict[str, Any], own: Own, *, leftover: Folders | None = None) -> int:
    check_single_process("--seeds")
    return _train_group(SeedGroup.create(given, leftover=leftover), {}, own)


def _resume_seeds(run_dir: Path, given: dict[str, Any], own: Own, *, typed: Path) -> int:
    check_single_process("--seeds")
    group = SeedGroup.open(run_dir)
    config = presets.configure({**group.flags, **group.places, "output_dir": str(run_dir.parent)})
    seeds = given.pop("seeds", group.seeds)
    if seeds != group.seeds:
        raise UsageError(f"--seeds belongs to the runs (it is {knob_text(group.seeds)}): choose another --run_name")
    check_resumable(config, given)
    if config.nets and not own.nets:
        raise UsageError(f"{run_dir} was trained with {missing_nets(config)}")
    changes = {name: value for name, value in given.items() if name in RESUMABLE}
    return _train_group(group, with_places(run_dir, typed, config, changes), own)


def _train_group(group: SeedGroup, given: dict[str, Any], own: Own) -> int:
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
                code = _train_seed(group, seed, given, own)
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


def _train_seed(group: SeedGroup, seed: int, given: dict[str, Any], own: Own) -> int:
    run_dir = group.dir_of(seed)
    if not (run_dir / "checkpoints" / "last.pt").exists():
        return train_run(presets.configure(group.flags_of(seed)), own, on_begin=lambda run: group.write())
    try:
        changes = {**group.changes_of(seed, RESUMABLE), **given, **group.places_of_runs}
        return _resume_run(run_dir, changes, own, typed=run_dir, on_begin=lambda run: group.write())
    except FileError as error:
        raise SeedError(f"{error}; to train this seed anew, remove {short_path(run_dir)}") from None
