"""What each command takes, once: defaults, help and bounds. Their parsers are generated from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vae.config import SEED_MAX
from vae.errors import UsageError
from vae.knobs import check_all, check_device, knob

MAX_GRID = 2500  # images in one picture; more are too small to see
GROUPS = {"model": "which model", "command": "what", "output": "where to", "machine": "machine"}


@dataclass(frozen=True)
class Options:
    """What every command takes.

    Raises:
        UsageError: a value out of bounds; the message names the flag, the value and what is allowed.
    """

    name: ClassVar[str]
    purpose: ClassVar[str]
    examples: ClassVar[tuple[str, ...]] = ()

    run: str = knob("", "a run's folder (default: the latest in outputs/)", group="model", metavar="RUN")
    checkpoint: str = knob("", "any checkpoint file, in place of a run's last", group="model", metavar="FILE")
    data_dir: str = knob("", "where its data lies (default: where the run found it)", group="model", metavar="DIR")
    output: str = knob(
        "", "a folder or a file to write (default: the run's folder, numbered)", group="output", metavar="PATH"
    )
    overwrite: bool = knob(False, "replace files that are there", group="output")
    quiet: bool = knob(False, "print nothing but warnings and errors", group="output")
    device: str = knob("auto", "auto (the best there is), cpu, mps, cuda or cuda:N", group="machine")
    threads: int = knob(0, "CPU threads, 0 for as many as PyTorch likes", group="machine", low=0, high=1024)

    def __post_init__(self) -> None:
        check_all(self)
        check_device(self.device)
        if self.run and self.checkpoint:
            raise UsageError("--run and --checkpoint name two models: give one")
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse what can't be had together."""


@dataclass(frozen=True)
class Evaluate(Options):
    """Knobs of `evaluate`."""

    name = "evaluate"
    purpose = "the test figures again, with their protocol, as a table and JSON"
    examples = ("evaluate", "evaluate --checkpoint outputs/latest/checkpoints/best.pt --output scores.json")


@dataclass(frozen=True)
class Sample(Options):
    """Knobs of `sample`."""

    name = "sample"
    purpose = "draw from the prior and decode"
    examples = (
        "sample --num_samples 100 --temperature 0.8",
        "sample --run outputs/my_run --digit 7 --format npz",
        "sample --format individual --output my_samples",
    )

    num_samples: int = knob(64, "how many", group="command", low=1, high=100_000)
    digit: tuple[int, ...] = knob(
        (), "class-conditional models: only these classes, in turn (default: all)", group="command", items=int, low=0
    )
    temperature: float = knob(1.0, "scale of the prior's spread: below 1 is safer", group="command", low=0, high=100)
    seed: int = knob(0, "of the draws", group="command", low=0, high=SEED_MAX)
    format: str = knob(
        "png",
        "one labelled grid, arrays, or a bare PNG each",
        group="command",
        choices=("png", "npz", "individual"),
    )

    def _check_combinations(self) -> None:
        if self.format == "png" and self.num_samples > MAX_GRID:
            raise UsageError(f"--num_samples {self.num_samples}: a grid shows {MAX_GRID:,}; see --format")


COMMANDS: dict[str, type[Options]] = {command.name: command for command in (Evaluate, Sample)}
