"""Start a new run, or resume one that was stopped."""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from pathlib import Path
from typing import Any

from vae.config import Config, presets
from vae.config.config import stored_config
from vae.model.build import model_from_state
from vae.runs import folders
from vae.runs.folders import Folders, relative_to_run
from vae.runs.run import Run
from vae.system import checkpoint, memory
from vae.system.console import Console
from vae.system.distributed import process_group
from vae.system.errors import UsageError

# The knobs that may differ between a run and its continuation; all others define the run.
RESUMABLE = {"num_epochs", "device", "compile", "threads", "data_dir", "checkpoint_every", "sample_every"}
RESUMABLE |= {"tsne_samples", "gif", "quiet", "final_eval", "num_importance_samples"}


@memory.explain_out_of_memory()
def train(given: dict[str, Any]) -> int:
    """Train a new run with the knobs given on the command line. Returns the exit code."""
    config = presets.configure(given)
    with process_group(config.device) as processes:
        if processes.is_main:
            folders.check_name_is_free(config)
        with (
            Console(quiet=config.quiet or not processes.is_main) as console,
            closing(Run(config, console=console, processes=processes)) as run,
        ):
            run.start()
            return run.train()


@memory.explain_out_of_memory()
def resume(given: dict[str, Any]) -> int:
    """Continue the run in the folder `given["resume"]`. Returns the exit code."""
    given = dict(given)
    run_dir = Path(os.path.realpath(given.pop("resume")))
    if not run_dir.is_dir():
        raise UsageError(f"--resume {run_dir}: no such folder; expected a run's folder, such as outputs/latest")
    last = run_dir / "checkpoints" / "last.pt"
    state = checkpoint.load(last)
    model_from_state(state, last)  # fails if the weights don't belong to the configuration
    stored = stored_config(state["config"], last)
    config = _continued(stored, given, run_dir=run_dir, relative_dirs=state["places"])
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
        if "data_dir" in given:
            run.relative_dirs["data_dir"] = relative_to_run(run_dir, given["data_dir"])
        return run.train()


def _continued(stored: Config, given: dict[str, Any], *, run_dir: Path, relative_dirs: dict[str, str]) -> Config:
    """The stored configuration with the flags that may change, and its folders as seen from here."""
    for name, value in given.items():
        if name not in RESUMABLE and value not in (getattr(stored, name), "auto"):
            raise UsageError(
                f"--{name} belongs to the run (it is {getattr(stored, name)}): start a new one to change it"
            )
    dirs = {
        name: os.path.normpath(run_dir / relative_dirs[name])
        for name in ("data_dir", "log_dir")
        if relative_dirs.get(name)
    }
    changed = {name: value for name, value in given.items() if name in RESUMABLE}
    return dataclasses.replace(stored, **{**dirs, "output_dir": str(run_dir.parent), "quiet": False, **changed})
