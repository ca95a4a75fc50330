"""How a run begins: anew, or where it was stopped."""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from pathlib import Path
from typing import Any

from vae.config import presets
from vae.config.config import stored_config
from vae.model.build import model_from_state
from vae.runs import folders
from vae.runs.folders import Folders, seen_from
from vae.runs.run import Run
from vae.system import checkpoint, memory
from vae.system.console import Console
from vae.system.distributed import process_group
from vae.system.errors import UsageError

# What may differ between a run and its continuation; everything else defines the run.
RESUMABLE = {
    "num_epochs",
    "device",
    "compile",
    "threads",
    "data_dir",
    "checkpoint_every",
    "sample_every",
    "tsne_samples",
}
RESUMABLE |= {"gif", "quiet", "final_eval", "num_importance_samples"}


@memory.explain_out_of_memory()
def train(given: dict[str, Any]) -> int:
    """Train a new run with the knobs that were given. Returns the exit code."""
    config = presets.configure(given)
    with process_group(config.device) as processes:
        if processes.is_main:
            folders.check_name_is_free(config)
        quiet = config.quiet or not processes.is_main
        with Console(quiet=quiet) as console, closing(Run(config, console=console, processes=processes)) as run:
            run.start()
            return run.go()


@memory.explain_out_of_memory()
def resume(given: dict[str, Any]) -> int:
    """Continue the run in the folder `given["resume"]`. Returns the exit code.

    Raises:
        UsageError: a flag that would make it another run.
        CheckpointError: nothing there to continue from.
    """
    given = dict(given)
    run_dir = Path(os.path.realpath(given.pop("resume")))
    if not run_dir.is_dir():
        raise UsageError(f"--resume {run_dir}: no such folder; expected a run's folder, such as outputs/latest")
    last = run_dir / "checkpoints" / "last.pt"
    state = checkpoint.load(last)
    model_from_state(state, last)  # refuses weights that are not the configuration's
    stored = stored_config(state["config"], last)
    for name, value in given.items():
        if name not in RESUMABLE and value not in (getattr(stored, name), "auto"):
            raise UsageError(
                f"--{name} belongs to the run (it is {getattr(stored, name)}): start a new one to change it"
            )
    # Relative places are kept relative to the run's folder, so that they hold from any working directory.
    stored_places = {name: state["places"].get(name) for name in ("data_dir", "log_dir")}
    places = {name: os.path.normpath(run_dir / path) for name, path in stored_places.items() if path}
    given = {"quiet": False, **{name: value for name, value in given.items() if name in RESUMABLE}}
    config = dataclasses.replace(stored, **{**places, "output_dir": str(run_dir.parent), **given})
    if config.num_epochs < state["epoch"]:
        raise UsageError(f"--num_epochs {config.num_epochs}: the run has {state['epoch']} epochs behind it already")
    with (
        process_group(config.device) as processes,
        Console(quiet=config.quiet or not processes.is_main) as console,
        closing(Run(config, console=console, fallback=state["fallback"], processes=processes)) as run,
    ):
        if config.lr_schedule == "cosine" and config.num_epochs != stored.num_epochs:
            run.console.say(f"note: the cosine now ends at epoch {config.num_epochs}, so the learning rate jumps here")
        run.restore(state, Folders(run_dir, Path(config.log_dir) / run_dir.name))
        if "data_dir" in given:
            run.places["data_dir"] = seen_from(run_dir, given["data_dir"])
        return run.go()
