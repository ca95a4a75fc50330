"""Every knob of a run, once: its default, help text and bounds. The command line is generated from here."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, get_type_hints

from vae.errors import UsageError

DATASETS = ("auto", "mnist", "fashion_mnist", "kmnist", "digits")
PRECISIONS = ("auto", "fp32", "bf16")
SEED_MAX = 2**63 - 1


def knob(
    default: Any,
    help: str,
    *,
    group: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
) -> Any:
    """A dataclass field that carries its own documentation and bounds (`low`/`high` inclusive, `above`/`below` not)."""
    bounds = {"low": low, "high": high, "above": above, "below": below}
    metadata = {"help": help, "group": group, "bounds": bounds, "choices": choices, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """What defines a run. The defaults are the README's first command.

    Raises:
        UsageError: a value out of bounds; the message names the flag, the value and what is allowed.
    """

    dataset: str = knob("auto", "auto is MNIST or, only where it can't be had, digits", group="data", choices=DATASETS)
    data_dir: str = knob("data", "where data sets are looked for and kept", group="data", metavar="DIR")
    val_split: float = knob(
        0.0, "fraction of the training set held out to choose best.pt", group="data", low=0, below=1
    )

    latent_dim: int = knob(2, "number of latent variables", group="model", low=1, high=4096)
    hidden_dims: tuple[int, ...] = knob(
        (512,), "widths of the encoder's hidden layers; the decoder mirrors them", group="model", low=1, high=65536
    )

    num_epochs: int = knob(60, "passes over the training set", group="training", low=1, high=1_000_000)
    batch_size: int = knob(64, "images per step", group="training", low=1, high=1_000_000)
    lr: float = knob(1e-3, "learning rate of AdamW", group="training", above=0)
    weight_decay: float = knob(1e-2, "decoupled weight decay of AdamW", group="training", low=0)
    seed: int = knob(0, "of the weights, the batches and the noise", group="training", low=0, high=SEED_MAX)

    run_name: str = knob("", "name of the run's folders (default: time and model)", group="output", metavar="NAME")
    output_dir: str = knob("outputs", "checkpoints, metrics and pictures go below", group="output", metavar="DIR")
    log_dir: str = knob("runs", "TensorBoard logs go below", group="output", metavar="DIR")
    overwrite: bool = knob(False, "replace the run of that name", group="output")
    checkpoint_every: int = knob(0, "also keep epoch_NNN.pt every N epochs, 0 for never", group="output", low=0)
    sample_every: int = knob(5, "draw samples and reconstructions every N epochs, 0 for never", group="output", low=0)
    tsne_samples: int = knob(2000, "test images in the closing t-SNE picture", group="output", low=10, high=100_000)
    quiet: bool = knob(False, "print nothing but warnings and errors", group="output")

    device: str = knob("auto", "auto (the best there is), cpu, mps, cuda or cuda:N", group="machine")
    precision: str = knob(
        "auto", "of the training step; auto is bf16 where the hardware has it", group="machine", choices=PRECISIONS
    )
    threads: int = knob(0, "CPU threads, 0 for as many as PyTorch likes", group="machine", low=0, high=1024)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON knows no tuples
                object.__setattr__(self, field.name, value := tuple(value))
            _check(field, value)
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", self.device):
            raise UsageError(f"--device {self.device!r}: expected auto, cpu, mps, cuda or cuda:N")
        if self.run_name:
            _check_run_name(self.run_name)

    @property
    def model_name(self) -> str:
        """Short name of the model, for run folders: `mlp-512-2d`."""
        return "-".join(["mlp", *map(str, self.hidden_dims), f"{self.latent_dim}d"])

    @property
    def protocol(self) -> str:
        """How pixels are made into targets and scored; no likelihood is printed without it."""
        return "grey pixels"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they go into config.json and checkpoints."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Rebuild what `to_dict` gave.

        Raises:
            UsageError: a knob that this version doesn't know, or a value that can't be.
        """
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UsageError(f"the stored configuration has unknown entries: {', '.join(unknown)}")
        return cls(**values)


FIELD_TYPES: dict[str, Any] = get_type_hints(Config)


def item_type(field: dataclasses.Field[Any]) -> type:
    """The type of one value of a knob: int for `hidden_dims`."""
    kind = FIELD_TYPES[field.name]
    return int if kind == tuple[int, ...] else kind


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    """Hold one value against its type, choices and bounds."""
    flag, kind = f"--{field.name}", item_type(field)
    items = value if isinstance(value, tuple) else (value,)
    if not items:
        raise UsageError(f"{flag}: expected at least one value")
    for item in items:
        numeric = kind is float and type(item) is int
        if type(item) is not kind and not numeric:
            raise UsageError(f"{flag} {item!r}: expected {kind.__name__}")
        choices = field.metadata["choices"]
        if choices and item not in choices:
            raise UsageError(f"{flag} {item!r}: choose from {', '.join(choices)}")
        if kind in (int, float):
            _check_bounds(flag, item, field.metadata["bounds"])
        elif kind is str and ("\0" in item or not item.isprintable()):
            raise UsageError(f"{flag} {item!r}: unprintable characters")


def _check_bounds(flag: str, value: float, bounds: dict[str, float | None]) -> None:
    tests = {
        "low": ("at least", lambda bound: value >= bound),
        "high": ("at most", lambda bound: value <= bound),
        "above": ("above", lambda bound: value > bound),
        "below": ("below", lambda bound: value < bound),
    }
    if not math.isfinite(value):
        raise UsageError(f"{flag} {value}: expected a finite number")
    for name, bound in bounds.items():
        if bound is not None and not tests[name][1](bound):
            raise UsageError(f"{flag} {value}: must be {tests[name][0]} {bound}")


def _check_run_name(name: str) -> None:
    """A run's name is one folder name, nothing that leads elsewhere."""
    if name != name.strip() or name.startswith((".", "-")) or re.search(r'[/\\:*?"<>|]', name):
        raise UsageError(f"--run_name {name!r}: a folder name, without separators or a leading dot or dash")
    if len(name.encode()) > 120:
        raise UsageError(f"--run_name is {len(name.encode())} bytes long: at most 120")
    if name in ("latest", "gallery"):
        raise UsageError(f"--run_name {name!r} is taken by the project: choose another")
