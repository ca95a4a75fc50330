"""Presets: known recipes by name; any other flag overrides its part of one."""

from __future__ import annotations

import dataclasses
import json
import shlex
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from vae.config.config import Config
from vae.config.fields import PLACES
from vae.config.knobs import check_choice
from vae.system.program import PROGRAM

Knobs = dict[str, Any]
NO_BREAK = "\xa0"  # a space at which no line is broken

DENSE: Knobs = {"optimizer": "adam", "batch_size": 128}
MLP_32D: Knobs = {**DENSE, "latent_dim": 32, "num_epochs": 20}
MLP_20D: Knobs = {**DENSE, "hidden_dims": (512, 256), "latent_dim": 20, "num_epochs": 20}
TUNED: Knobs = {"activation": "gelu", "lr_schedule": "cosine", "ema": 0.998, "mean_bias": True}
LIKELIHOOD: Knobs = {
    "binarize": "dynamic",
    "latent_dim": 40,
    "block": "residual",
    "activation": "silu",
    "mean_bias": True,
    "kl_warmup_epochs": 8.0,
    "batch_size": 256,
    "lr": 2e-3,
    "lr_schedule": "cosine",
    "lr_warmup_epochs": 2.0,
    "augment": 0.5,
    "augment_until": 0.8,
    "sample_every": 20,
}
QUICK: Knobs = {"hidden_dims": (512, 512), "ema": 0.998, "prior": "flow", "mixture_components": 4}
RECORD: Knobs = {"hidden_dims": (512,) * 4, "ema": 0.9995, "objective": "dreg", "num_samples_train": 5}
MIXER: Knobs = {
    "arch": "mixer",
    "hidden_dims": (512,) * 3,
    "prior": "flow",
    "mixture_components": 4,
    "num_samples_train": 3,
    "elbo_until": 0.55,
    "augment": 1.0,
    "augment_labels": True,
    "augment_until": 0.85,
}

# What a table of runs shows of every run.
TELLING = {"preset", "dataset", "binarize", "arch", "latent_dim", "hidden_dims", "prior", "recon_loss", "objective"}
TELLING |= {"beta", "num_epochs", "batch_size", "lr", "seed"}

PRESETS: dict[str, Knobs] = {
    "mlp-2d": {},
    "conv-2d": {
        "arch": "conv",
        "base_channels": 64,
        "activation": "leaky_relu",
        "recon_loss": "mse",
        "optimizer": "adam",
        "lr": 5e-4,
        "lr_warmup_epochs": 1.0,
        "num_epochs": 200,
        "val_split": 0.2,
    },
    "mlp-64d": {**DENSE, "hidden_dims": (128,), "latent_dim": 64, "num_epochs": 25, "side_by_side": True},
    "mlp-32d": {**MLP_32D, "sample_every": 1, "checkpoint_every": 1},
    "mlp-20d": MLP_20D,
    "mlp-32d-tuned": {
        **MLP_32D,
        **TUNED,
        "optimizer": "adamw",
        "weight_decay": 0.02,
        "lr": 6e-3,
        "lr_warmup_epochs": 0.5,
    },
    "mlp-20d-tuned": {**MLP_20D, **TUNED, "lr": 2e-3},
    "quick": {**LIKELIHOOD, **QUICK, "num_epochs": 45},
    "record": {**LIKELIHOOD, **RECORD, "num_epochs": 200, "augment": 0.75, "prior": "flow"},
    "record-mixer": {**LIKELIHOOD, **RECORD, **MIXER, "num_epochs": 200},
    "record-standard": {**LIKELIHOOD, **RECORD, "num_epochs": 135},
}

DESCRIPTIONS = {
    "mlp-2d": "the defaults: a map of the digits in the plane",
    "conv-2d": "convolutions and squared error, on an 80/20 split; without the learning rate's warm-up, "
    "Adam's first steps drive every pixel to black, for good",
    "mlp-64d": "small dense nets and many latents; the saved model's reconstructions beside the originals",
    "mlp-32d": "sample grids and a checkpoint after every epoch",
    "mlp-20d": "two hidden layers, in the sizes of the usual notebook",
    "mlp-32d-tuned": "mlp-32d with a better recipe, at the same size and length",
    "mlp-20d-tuned": "mlp-20d with a better recipe, at the same size and length",
    "quick": "a good likelihood in about 8 minutes of two CPU cores: a learned prior, and patches as mixtures",
    "record": "the best likelihood of dense nets: a learned prior; about 45 minutes of two CPU cores",
    "record-mixer": "fewer dense layers, then a mixer block and a last layer that all patches share; patches as "
    "mixtures; the ELBO before the DReG bound; about an hour of two CPU cores",
    "record-standard": "record with the standard normal prior, in less time",
}


class Expected(NamedTuple):
    """What a preset's test loss on MNIST comes to after some epochs, in nats per image, over several seeds."""

    num_epochs: int
    seeds: int
    mean: float
    std: float
    precision: str = "bf16"  # of training


# By preset; benchmarks/results.py writes the file from its measurements.
EXPECTED = {
    preset: Expected(**figures)
    for preset, figures in json.loads(Path(__file__).with_name("expected.json").read_text("utf-8")).items()
}


def expectation(config: Config) -> tuple[Expected | None, str]:
    """What a run's test loss should be; or `None` and the reason why there is no such figure."""
    expected = EXPECTED.get(config.preset)
    if expected is None:
        return None, f"there are none for the preset {config.preset}"
    if config.dataset not in ("auto", "mnist"):
        return None, f"figures have been measured on MNIST only, and this is {config.dataset}"
    usual = configure({"preset": config.preset, "num_epochs": expected.num_epochs}).hparams()
    if config.precision not in ("auto", expected.precision):  # of mlp-20d, float32 ends a nat higher than bfloat16
        return None, f"the figures are of {expected.precision} training, and this is {config.precision}"
    free = {"dataset", "precision", "seed"}
    for name, value in config.hparams().items():
        if name not in free and value != usual[name]:
            difference = f"{name} is {knob_text(value)}, not {knob_text(usual[name])}"
            return None, f"this is not the {config.preset} that was measured: {difference}"
    return expected, ""


def command_line(config: Config) -> str:
    """The command that trains this run again, without the flags that have their preset's values."""
    usual = dataclasses.asdict(configure({"preset": config.preset, "gif": config.gif})) | {"gif": False}
    omitted = {"preset", "dataset", "seed", *PLACES}
    flags: Knobs = {"preset": config.preset} if config.preset != "mlp-2d" else {}
    flags |= {"dataset": config.dataset, "seed": config.seed}
    flags |= {name: value for name, value in config.to_dict().items() if name not in omitted and value != usual[name]}
    words: list[str] = []
    for name, value in flags.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return f"{PROGRAM} {shlex.join(words)}"


def telling_knobs(config: Config) -> Knobs:
    """The knobs of a run that tell most about its figures, and any others that differ from its preset's."""
    usual = configure({"preset": config.preset}).hparams()
    return {
        name: value
        for name, value in config.hparams().items()
        if name in TELLING or (value != usual[name] and name != "precision")  # resolved, so that it always differs
    }


def configure(given: Knobs) -> Config:
    """The preset's knobs, or the defaults, overridden by those in `given`."""
    preset = given.get("preset", "mlp-2d")
    check_choice("--preset", preset, tuple(PRESETS))
    values = {**PRESETS[preset], **given}
    if values.get("optimizer") == "adam":
        values.setdefault("weight_decay", 0.0)
    for name in ("lr_warmup_epochs", "kl_warmup_epochs"):  # a preset's own end with a run that is cut shorter
        length = given.get("num_epochs")
        if name in PRESETS[preset] and name not in given and isinstance(length, int) and 0 < length < values[name]:
            values[name] = float(length)
    if values.get("gif"):
        values.setdefault("sample_every", 1)  # a frame for every epoch
    return Config(**values)


def describe(width: int = 100) -> str:
    """Every preset with the flags that it stands for, for `--list_presets`, in lines of at most `width` characters."""
    wrap = textwrap.TextWrapper(width, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    paragraphs = []
    for name, knobs in PRESETS.items():
        config = configure({"preset": name})
        flags = (f"--{knob}" if value is True else f"--{knob} {knob_text(value)}" for knob, value in knobs.items())
        unbroken = " ".join(flag.replace(" ", NO_BREAK) for flag in flags)
        lines = [f"{name}  {DESCRIPTIONS[name]}", f"    {config.model_name}, {config.recipe}"]
        lines += [f"    {unbroken}"] if knobs else []
        paragraphs.append("\n".join(wrap.fill(line) for line in lines))
    return "\n\n".join(paragraphs).replace(NO_BREAK, " ")


def knob_text(value: Any) -> str:
    """A knob's value as it is typed after its flag: `512 256`."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
