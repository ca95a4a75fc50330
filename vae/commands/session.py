"""One command at work: the model it opened, the screen, and where its files go."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch

from vae.commands import destination
from vae.config.options import Options
from vae.runs.trained import open_run
from vae.system.console import Console, short_path
from vae.system.files import take_lock


class Session:
    """Opens what a command's options name, and gives its results places.

    Args:
        chosen: the command's options.
        console: the screen.
    """

    def __init__(self, chosen: Options, console: Console) -> None:
        if chosen.threads:
            torch.set_num_threads(chosen.threads)
        self._chosen, self._open = chosen, ExitStack()
        self.console = console
        path = chosen.checkpoint or chosen.run or Path("outputs") / "latest"
        self.trained = open_run(path, device=chosen.device, data_dir=chosen.data_dir)

    def close(self) -> None:
        """Let go of the place where the results went."""
        self._open.close()

    @property
    def default(self) -> Path:
        """The command's own folder: in the run's or, for a checkpoint outside of one, in the working directory."""
        trained, command = self.trained, self._chosen.name
        return trained.run_dir / command if trained.run_dir else Path(f"{trained.path.stem}-{command}")

    def paths(self, *names: str) -> list[Path]:
        """Where files of these names go, made free of earlier results."""
        output, overwrite = self._turn()
        return destination.choose(names, default=self.default, output=output, overwrite=overwrite)

    def folder(self, default: Path) -> Path:
        """A folder for many files, `default` or what was asked for."""
        output, overwrite = self._turn()
        return destination.choose_folder(default.name, default=default.parent, output=output, overwrite=overwrite)

    def _turn(self) -> tuple[str, bool]:
        """`--output` and `--overwrite`, once every command that has chosen names in the same place has written them.

        Whoever has the lock of the command's own folder keeps it to its end; `--output` needs none.
        """
        if not self._chosen.output:
            destination.make(self.default)
            self._open.enter_context(take_lock(self.default / ".lock"))
        return self._chosen.output, self._chosen.overwrite

    def wrote(self, *paths: Path) -> None:
        """Say where the results lie."""
        self.console.say(f"wrote {', '.join(short_path(path) for path in paths)}")
