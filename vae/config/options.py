"""What each command takes, once: defaults, help and bounds. Their parsers are generated from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vae.config.config import SEED_MAX
from vae.config.knobs import check_all, check_device, knob
from vae.system.errors import UsageError

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
    purpose = "the test figures again, and everything else that is measured, with their protocol, as a table and JSON"
    examples = (
        "evaluate",
        "evaluate --num_importance_samples 0",
        "evaluate --num_importance_samples 5000",
        "evaluate --checkpoint outputs/latest/checkpoints/best.pt --output scores.json",
    )

    num_importance_samples: int = knob(
        1000,
        "for the likelihoods, of each image (papers take 5000), measured with the quality of latents and samples after "
        "the ELBO is shown; 0 for the ELBO alone",
        group="command",
        low=0,
        high=10_000_000,
    )


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


@dataclass(frozen=True)
class Reconstruct(Options):
    """Knobs of `reconstruct`."""

    name = "reconstruct"
    purpose = "encode and decode test images, or your own, with the ELBO of each"
    examples = ("reconstruct --num_images 30", "reconstruct --images me.png you.jpg folder/")

    images: tuple[str, ...] = knob(
        (),
        "your own: any size, colour and background; made grey, centred and scaled as the data set's are",
        group="command",
        items=str,
        metavar="PATH",
    )
    num_images: int = knob(20, "how many, from the beginning of the test set", group="command", low=1, high=1000)
    digit: tuple[int, ...] = knob(
        (),
        "class-conditional models: the class of your images, or of each (default: the likeliest)",
        group="command",
        items=int,
        low=0,
    )


@dataclass(frozen=True)
class Interpolate(Options):
    """Knobs of `interpolate`."""

    name = "interpolate"
    purpose = "from one image to another, as a strip and an animated GIF"
    examples = (
        "interpolate --images 3 18",
        "interpolate --digits 3 8 --path spherical --steps 16",
        "interpolate --random --seed 5 --output morph.gif",
    )

    images: tuple[int, ...] = knob(
        (), "two test images, by their place", group="command", items=int, count=2, low=0, metavar="N"
    )
    digits: tuple[int, ...] = knob(
        (), "two classes, each by its most typical test image", group="command", items=int, count=2, low=0
    )
    random: bool = knob(False, "two draws from the prior", group="command")
    digit: tuple[int, ...] = knob(
        (), "class-conditional models: decode the path as this class", group="command", items=int, count=1, low=0
    )
    path: str = knob(
        "linear", "a straight line, or around the origin", group="command", choices=("linear", "spherical")
    )
    steps: int = knob(12, "images in the strip, its ends included", group="command", low=2, high=60)
    seed: int = knob(0, "of the two draws", group="command", low=0, high=SEED_MAX)

    def _check_combinations(self) -> None:
        if bool(self.images) + bool(self.digits) + self.random > 1:
            raise UsageError("--images, --digits and --random name different ends: give one of them")


@dataclass(frozen=True)
class Traverse(Options):
    """Knobs of `traverse`."""

    name = "traverse"
    purpose = "sweep every latent over the prior's quantiles, the most active first"
    examples = ("traverse --top 10", "traverse --image 7 --steps 15")

    top: int = knob(20, "how many latents, the most active first", group="command", low=1, high=200)
    steps: int = knob(11, "quantiles, from 1 % to 99 %", group="command", low=2, high=50)
    image: tuple[int, ...] = knob(
        (),
        "hold the other latents at this test image's (default: the prior's median)",
        group="command",
        items=int,
        count=1,
        low=0,
    )
    digit: tuple[int, ...] = knob((), "class-conditional models: the class", group="command", items=int, count=1, low=0)


@dataclass(frozen=True)
class Embed(Options):
    """Knobs of `embed`."""

    name = "embed"
    purpose = "latent means, log variances and labels of a split as NumPy and CSV, and a map of them"
    examples = ("embed --split train --picture none", "embed --picture pca --size 10000")

    split: str = knob("test", "which images", group="command", choices=("train", "val", "test"))
    picture: str = knob("tsne", "how the map is made", group="command", choices=("tsne", "pca", "none"))
    size: int = knob(2000, "images in the map, drawn at random", group="command", low=10, high=1_000_000)
    seed: int = knob(0, "of that choice and of t-SNE", group="command", low=0, high=SEED_MAX)


@dataclass(frozen=True)
class Export(Options):
    """Knobs of `export`."""

    name = "export"
    purpose = "encoder and decoder as torch.export programs, which run without this code"
    examples = ("export", "export --output programs")


@dataclass(frozen=True)
class Gif(Options):
    """Knobs of `gif`."""

    name = "gif"
    purpose = "animate the pictures that a run has left after its epochs"
    examples = ("gif", "gif --milliseconds 100 --output films")

    milliseconds: int = knob(250, "how long each epoch is shown", group="command", low=20, high=10_000)


@dataclass(frozen=True)
class Report(Options):
    """Knobs of `report`."""

    name = "report"
    purpose = "the run on one page, with a latent explorer, as every finished run has it"
    examples = ("report --run outputs/my_stopped_run", "report --output my_run.html")


ALL: tuple[type[Options], ...] = (Evaluate, Sample, Reconstruct, Interpolate, Traverse, Embed, Export, Gif, Report)
COMMANDS = {command.name: command for command in ALL}
