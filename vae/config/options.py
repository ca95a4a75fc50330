"""What each command takes: defaults, help and bounds. The commands' parsers are generated from here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from vae.config.fields import SEED_MAX
from vae.config.knobs import check_all, check_device, knob
from vae.system.errors import UsageError

MAX_GRID = 2500  # images in one picture; more would be too small to see
GROUPS = {"model": "model", "command": "command", "output": "output", "machine": "machine"}
EXPORT_SUFFIXES = {"torch": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}  # by format
command_knob = partial(knob, group="command")


@dataclass(frozen=True)
class Options:
    """What every command takes."""

    name: ClassVar[str]
    purpose: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    opens_models: ClassVar[bool] = True
    several_processes: ClassVar[bool] = False  # whether those that torchrun starts share the work

    output: str = knob(
        "", "folder or file to write (default: a new name in the run's folder)", group="output", metavar="PATH"
    )
    overwrite: bool = knob(False, "replace existing files", group="output")
    quiet: bool = knob(False, "print only warnings and errors", group="output")

    def __post_init__(self) -> None:
        check_all(self)
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse flags that exclude each other."""


@dataclass(frozen=True)
class ModelOptions(Options):
    """What every command takes that opens a model."""

    run: str = knob("", "a run's folder (default: the latest in outputs/)", group="model", metavar="RUN")
    checkpoint: str = knob(
        "", "a checkpoint or an exported .safetensors, instead of a run's last one", group="model", metavar="FILE"
    )
    data_dir: str = knob("", "folder of the run's data (default: as in training)", group="model", metavar="DIR")
    nets: str = knob("", "run your own Python file, that of the training", group="model", metavar="FILE.py:FUNCTION")
    device: str = knob("auto", "auto (the best available), cpu, mps, cuda or cuda:N", group="machine")
    threads: int = knob(0, "CPU threads; 0 for PyTorch's default", group="machine", low=0, high=1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
        if self.run and self.checkpoint:
            raise UsageError("--run and --checkpoint name two models: give one")


@dataclass(frozen=True)
class Evaluate(ModelOptions):
    """Knobs of `evaluate`."""

    name = "evaluate"
    several_processes = True
    purpose = "measure the ELBO, the likelihood, the latents and the samples"
    examples = (
        "evaluate",
        "evaluate --num_importance_samples 0",
        "evaluate --num_importance_samples 5000",
        "evaluate --checkpoint path/to/best.pt --output scores.json",
    )

    num_importance_samples: int = command_knob(
        1000, "samples per image for the likelihoods (papers use 5000); 0 for the ELBO only", low=0, high=10_000_000
    )


@dataclass(frozen=True)
class Sample(ModelOptions):
    """Knobs of `sample`."""

    name = "sample"
    purpose = "draw from the prior and decode"
    examples = (
        "sample --num_samples 100 --temperature 0.8",
        "sample --run outputs/my_run --digit 7 --format npz",
        "sample --format individual --output my_samples",
    )

    num_samples: int = command_knob(64, "number of samples", low=1, high=100_000)
    digit: tuple[int, ...] = command_knob(
        (), "conditional models: only these classes, in turn (default: all)", items=int, low=0
    )
    temperature: float = command_knob(1.0, "scales the prior's spread; lower is safer and less varied", low=0, high=100)
    seed: int = command_knob(0, "seed of the draws", low=0, high=SEED_MAX)
    format: str = command_knob(
        "png", "one labelled grid, arrays, or a PNG for each", choices=("png", "npz", "individual")
    )

    def _check_combinations(self) -> None:
        if self.format == "png" and self.num_samples > MAX_GRID:
            raise UsageError(f"--num_samples {self.num_samples}: a grid shows at most {MAX_GRID:,}; see --format")


@dataclass(frozen=True)
class Reconstruct(ModelOptions):
    """Knobs of `reconstruct`."""

    name = "reconstruct"
    purpose = "encode and decode test images, or your own, with the ELBO of each"
    examples = ("reconstruct --num_images 30 --side_by_side", "reconstruct --images me.png you.jpg folder/")

    images: tuple[str, ...] = command_knob(
        (),
        "your own images, of any size, colour and background; prepared like the data set's",
        items=str,
        metavar="PATH",
    )
    num_images: int = command_knob(20, "number of test images, from the first", low=1, high=1000)
    digit: tuple[int, ...] = command_knob(
        (), "conditional models: the class of all your images, or of each (default: the likeliest)", items=int, low=0
    )
    side_by_side: bool = command_knob(False, "draw each reconstruction to the right of its original")


@dataclass(frozen=True)
class Interpolate(ModelOptions):
    """Knobs of `interpolate`."""

    name = "interpolate"
    purpose = "go from one image to another: a strip and an animated GIF"
    examples = (
        "interpolate --images 3 18",
        "interpolate --digits 3 8 --path spherical --steps 16",
        "interpolate --random --seed 5 --output morph.gif",
    )

    images: tuple[int, ...] = command_knob((), "two test images, by index", items=int, count=2, low=0, metavar="N")
    digits: tuple[int, ...] = command_knob(
        (), "two classes; the most typical test image of each", items=int, count=2, low=0
    )
    random: bool = command_knob(False, "two draws from the prior")
    digit: tuple[int, ...] = command_knob(
        (), "conditional models: decode the path as this class", items=int, count=1, low=0
    )
    path: str = command_knob("linear", "straight, or around the origin", choices=("linear", "spherical"))
    steps: int = command_knob(12, "images in the strip, both ends included", low=2, high=60)
    seed: int = command_knob(0, "seed of the two draws", low=0, high=SEED_MAX)

    def _check_combinations(self) -> None:
        if bool(self.images) + bool(self.digits) + self.random > 1:
            raise UsageError("--images, --digits and --random name different ends: give one of them")


@dataclass(frozen=True)
class Traverse(ModelOptions):
    """Knobs of `traverse`."""

    name = "traverse"
    purpose = "show what each latent changes, and how much it carries"
    examples = ("traverse --top 10", "traverse --image 7 --steps 15")

    top: int = command_knob(20, "number of latents, those that carry most first", low=1, high=200)
    steps: int = command_knob(11, "number of quantiles of the prior, from 1 % to 99 %", low=2, high=50)
    image: tuple[int, ...] = command_knob(
        (), "fix the other latents at this test image's (default: at the prior's median)", items=int, count=1, low=0
    )
    digit: tuple[int, ...] = command_knob((), "conditional models: the class", items=int, count=1, low=0)


@dataclass(frozen=True)
class Embed(ModelOptions):
    """Knobs of `embed`."""

    name = "embed"
    purpose = "write latent means and labels as NumPy and CSV; draw a map"
    examples = ("embed --split train --picture none", "embed --picture pca --size 10000")

    split: str = command_knob("test", "images to embed", choices=("train", "val", "test"))
    picture: str = command_knob("tsne", "method of the map", choices=("tsne", "pca", "none"))
    size: int = command_knob(2000, "images in the map, chosen at random", low=10, high=1_000_000)
    seed: int = command_knob(0, "seed of that choice and of t-SNE", low=0, high=SEED_MAX)


@dataclass(frozen=True)
class Export(ModelOptions):
    """Knobs of `export`."""

    name = "export"
    purpose = "write the model as torch.export, ONNX or safetensors files"
    examples = (
        "export --format onnx",
        "export --output digits.onnx",
        "export --output digits.safetensors",
    )

    format: str = command_knob(
        "auto",
        "torch: encoder and decoder as programs of torch.export; onnx: as ONNX graphs; safetensors: all weights and "
        "the configuration; auto: as --output ends (digits.onnx makes digits_encoder.onnx and digits_decoder.onnx), "
        "else torch",
        choices=("auto", *EXPORT_SUFFIXES),
    )

    def _check_combinations(self) -> None:
        export_format(self.output, self.format)


def export_format(output: str, format: str) -> str:
    """The format to export: that of a file's suffix where it is `auto`."""
    suffix = Path(output).suffix.lower()
    named = next((name for name, ours in EXPORT_SUFFIXES.items() if ours == suffix), None)
    if format == "auto":
        return named or "torch"
    if named and named != format:
        raise UsageError(f"format {format}: a name ending in {suffix} is {named}: change one of the two")
    return format


@dataclass(frozen=True)
class Gif(ModelOptions):
    """Knobs of `gif`."""

    name = "gif"
    purpose = "animate the pictures that a run has drawn after its epochs"
    examples = ("gif", "gif --milliseconds 100 --output films")

    milliseconds: int = command_knob(250, "duration of each epoch's picture", low=20, high=10_000)


@dataclass(frozen=True)
class Report(ModelOptions):
    """Knobs of `report`."""

    name = "report"
    purpose = "write report.html again, or that of a run which was stopped"
    examples = ("report --run outputs/my_stopped_run", "report --output my_run.html")


@dataclass(frozen=True)
class List(Options):
    """Knobs of `list`."""

    name = "list"
    purpose = "show the runs in outputs/, newest first"
    opens_models = False
    examples = ("list", "list --output_dir my_outputs", "list --output runs.csv")

    output_dir: str = command_knob("outputs", "folder of the runs", metavar="DIR")
    output: str = knob("", "write them to this file too, .csv or .json, in full", group="output", metavar="FILE")

    def _check_combinations(self) -> None:
        if self.output and not self.output.endswith((".csv", ".json")):
            raise UsageError(f"--output {self.output}: expected a file ending in .csv or .json")


@dataclass(frozen=True)
class Compare(Options):
    """Knobs of `compare`."""

    name = "compare"
    purpose = "set runs side by side: tables, curves, samples and a page"
    examples = (
        "compare my_run outputs/other_run",
        "compare 'wide-*' --output wide",
        "compare --all",
    )

    runs: tuple[str, ...] = command_knob(
        (),
        "names in outputs/, folders, patterns with *, or the folder of --seeds",
        items=str,
        metavar="RUN",
        positional=True,
    )
    all: bool = command_knob(False, "every run in outputs/")
    output_dir: str = command_knob("outputs", "folder of the runs", metavar="DIR")
    output: str = knob("", "folder to write (default: a new one, outputs/comparison)", group="output", metavar="DIR")

    def _check_combinations(self) -> None:
        if self.all and self.runs:
            raise UsageError("--all compares every run: give it, or the runs")
        if not self.all and not self.runs:
            raise UsageError("which runs? name two or more, or give --all (see the list command)")


ALL: tuple[type[Options], ...] = (
    *(List, Compare, Evaluate, Sample, Reconstruct, Interpolate, Traverse, Embed, Export, Gif, Report),
)
COMMANDS = {command.name: command for command in ALL}
