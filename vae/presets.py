"""Known systems, each one flag away; any other flag overrides its part."""

from __future__ import annotations

from typing import Any

from vae.config import Config
from vae.errors import UsageError

PRESETS: dict[str, dict[str, Any]] = {
    "mlp-2d": {},
    "conv-2d": {
        "arch": "conv",
        "base_channels": 64,
        "activation": "leaky_relu",
        "recon_loss": "mse",
        "optimizer": "adam",
        "lr": 5e-4,
        "lr_warmup_epochs": 1.0,  # without it Adam's first steps drive every pixel to black, and none comes back
        "num_epochs": 200,
        "val_split": 0.2,
    },
    "mlp-64d": {
        "hidden_dims": (128,),
        "latent_dim": 64,
        "optimizer": "adam",
        "batch_size": 128,
        "num_epochs": 25,
        "side_by_side": True,
    },
    "mlp-32d": {
        "latent_dim": 32,
        "optimizer": "adam",
        "batch_size": 128,
        "num_epochs": 20,
        "sample_every": 1,
        "checkpoint_every": 1,
    },
    "mlp-20d": {
        "hidden_dims": (512, 256),
        "latent_dim": 20,
        "optimizer": "adam",
        "batch_size": 128,
        "num_epochs": 20,
    },
}

DESCRIPTIONS = {
    "mlp-2d": "the defaults: a map of the digits in the plane",
    "conv-2d": "convolutions and squared error, on an 80/20 split",
    "mlp-64d": "small dense nets, many latents; the saved model drawn side by side",
    "mlp-32d": "grids and a checkpoint after every epoch, mixed precision",
    "mlp-20d": "two hidden layers, the usual notebook's sizes",
}


def configure(given: dict[str, Any]) -> Config:
    """The preset's knobs, or the defaults, with those that were given in their place.

    Raises:
        UsageError: an unknown preset, or a value or combination that can't be.
    """
    preset = given.get("preset", "mlp-2d")
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset!r}: choose from {', '.join(PRESETS)}")
    values = {**PRESETS[preset], **given}
    if values.get("optimizer") == "adam":
        values.setdefault("weight_decay", 0.0)
    return Config(**values)


def describe() -> str:
    """Every preset with what it sets, for `--list_presets`."""
    lines = []
    for name, knobs in PRESETS.items():
        config = configure({"preset": name})
        lines += [f"{name}  {DESCRIPTIONS[name]}", f"    {config.model_name}, {config.recipe}"]
        flags = (f"--{knob}" if value is True else f"--{knob} {_plain(value)}" for knob, value in knobs.items())
        lines += ["    " + " ".join(flags)] if knobs else []
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
