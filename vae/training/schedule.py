"""What changes in the course of a run: learning rate and KL's weight by the step, all else from epoch to epoch.

The first two are functions of the epochs done so far: 2.5 in the middle of the third.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from vae.config import Config


class Phase(NamedTuple):
    """What holds for a whole epoch: how strongly images are distorted (0: not), and posterior samples per image."""

    augment: float
    num_samples: int


def phase(config: Config, epoch: int) -> Phase:
    """The phase that an epoch, counted from 1, belongs to."""

    def lasts(fraction: float) -> bool:
        return epoch <= round(fraction * config.num_epochs, 6)  # 0.29 of 100 epochs are 28.999999999999996

    return Phase(
        config.augment if lasts(config.augment_until) else 0.0,
        1 if lasts(config.elbo_until) else config.num_samples_train,
    )


def warmup(epochs_done: float, warmup_epochs: float) -> float:
    """A factor that grows linearly from 0 to 1 over `warmup_epochs` and stays at 1; 1 throughout without a warm-up."""
    return min(1.0, epochs_done / warmup_epochs) if warmup_epochs else 1.0


def learning_rate(epochs_done: float, *, lr: float, schedule: str, warmup_epochs: float, num_epochs: int) -> float:
    """The learning rate at `epochs_done`.

    Args:
        epochs_done: in [0, num_epochs).
        lr: the largest learning rate.
        schedule: `constant`, or `cosine`, which falls from the end of the warm-up to 0 at `num_epochs`.
        warmup_epochs: length of the linear growth from 0.
        num_epochs: length of the run.
    """
    factor = warmup(epochs_done, warmup_epochs)
    if schedule == "cosine" and epochs_done > warmup_epochs:
        progress = (epochs_done - warmup_epochs) / (num_epochs - warmup_epochs)
        factor *= 0.5 * (1 + math.cos(math.pi * progress))
    return lr * factor
