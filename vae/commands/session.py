"""What every command with a model needs: the opened run, the screen, and names for its results."""

from __future__ import annotations

from pathlib import Path

import torch

from vae.commands.places import Places, file_stem, slug
from vae.config.options import ModelOptions
from vae.runs.trained import Trained, open_run
from vae.system.console import Console, short_path
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.files import refuse_links

__all__ = ["Session", "class_slug", "file_stem"]


class Session(Places):
    """Opens the run that a command's options name; results of a run's other checkpoints than its last say so."""

    def __init__(self, options: ModelOptions, console: Console, processes: ProcessGroup = SINGLE_PROCESS) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.console, self.processes = console, processes
        path = options.checkpoint or options.run or Path("outputs") / "latest"
        device = processes.device or options.device
        if options.nets:
            console.say(f"running {options.nets}")
        trained = self.trained = open_run(path, device=device, data_dir=options.data_dir, nets=options.nets or None)
        self.is_of_last_checkpoint = trained.run_dir is not None and trained.path.name == "last.pt"
        is_other = trained.run_dir is not None and not self.is_of_last_checkpoint

        def own_dir() -> Path:
            """The command's own folder: in the run's or, outside of a run, in the working directory."""
            folder = trained.run_dir / options.name if trained.run_dir else Path(f"{trained.path.stem}-{options.name}")
            refuse_links(folder)
            return folder

        super().__init__(options, own_dir, mark=f"_{slug(trained.path.stem)}" if is_other else "")

    def wrote(self, *paths: Path) -> None:
        """Print where the results are, a line each."""
        for number, path in enumerate(paths):
            self.console.say(f"{'' if number else 'wrote':5} {short_path(path)}")


def class_slug(trained: Trained, label: int) -> str:
    """A class's name as a part of a file's name, or its number where nothing of the name can stay."""
    return slug(trained.class_names[label]) or f"class{label}"
