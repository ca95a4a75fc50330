"""What training takes at the least, reckoned from shapes: a run that can't fit is refused before any of it is made."""

from __future__ import annotations

import copy
import math
from textwrap import shorten

import torch

from vae.config import Config
from vae.model.build import build_model
from vae.system import memory

FLOAT = 4  # bytes
COPIES = 4  # of every weight: itself, its gradient and the optimizer's two means
BLAMED = ("batch_size", "num_samples_train", "hidden_dims", "base_channels", "latent_dim", "image_size")
PRIOR_BLAMED = ("num_pseudo_inputs", "num_couplings", "prior_width")
Shape = tuple[int, int, int]


def check_fits(config: Config, image_shape: Shape, *, num_classes: int, images: int, device: torch.device) -> None:
    """Refuse a training that this machine can't hold.

    Args:
        config: every knob.
        image_shape: (C, H, W).
        num_classes: of the data, 0 where it has none.
        images: to train on; no batch is larger.
        device: to train on.

    Raises:
        TooLargeError: one line with the flag to blame, what is needed and what there is.
    """

    def total(config: Config, shape: Shape) -> float:
        return weights_bytes(config, shape, num_classes) + batch_bytes(config, shape, images)

    free, needed = memory.available(device), total(config, image_shape)
    if free is None or needed <= free:
        return
    without = {}  # each flag at its default
    for name in (*BLAMED, *PRIOR_BLAMED):
        other, default = copy.copy(config), getattr(Config, name)
        object.__setattr__(other, name, default)  # unchecked: it may not go with the rest
        without[name] = total(other, (image_shape[0], default, default) if name == "image_size" else image_shape)
    blamed = min(without, key=lambda name: without[name])
    value = getattr(config, blamed)
    value = shorten(" ".join(map(str, value)), 60) if isinstance(value, tuple) else value
    batch = memory.format_bytes(batch_bytes(config, image_shape, images))
    memory.require(needed, f"--{blamed} {value}: training (a batch of it {batch})", device)


def weights_bytes(config: Config, image_shape: Shape, num_classes: int) -> float:
    """Weights, gradients and the optimizer's state, exactly."""
    with torch.device("meta"):
        model = build_model(config, image_shape=image_shape, num_classes=num_classes)
    return FLOAT * (COPIES + bool(config.ema)) * sum(weights.numel() for weights in model.parameters())


def batch_bytes(config: Config, image_shape: Shape, images: int) -> float:
    """What one batch leaves for the backward pass: every layer's output once, which is between all and an eighth."""
    batch, pixels = min(config.batch_size, images), math.prod(image_shape)
    drawn = batch * config.num_samples_train
    if config.arch == "conv":
        widths = config.base_channels * math.prod(image_shape[1:]) * 1.375  # 1 + 1/4 + 2/16 of the pixels
    else:
        widths = sum(config.hidden_dims)
    floats = batch * (pixels + widths) + drawn * (pixels + widths + config.latent_dim)
    if config.prior == "vamp":
        floats += config.num_pseudo_inputs * (pixels + widths + drawn)
    elif config.prior == "flow":
        floats += drawn * config.num_couplings * 2 * config.prior_width
    return FLOAT * floats
