"""An exponential moving average of the weights: what is scored, drawn and saved in place of the last step's weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vae.model.vae import VAE


def average_weights(model: VAE, decay: float) -> AveragedModel:
    """Copy a model into one whose weights follow those under training. Polyak & Juditsky 1992; Karras et al. 2024.

    Args:
        model: under training.
        decay: what the average keeps of itself in a step, in (0, 1). In the first steps it keeps less, so that the
            initial weights are soon forgotten.

    Returns:
        The copy is its `module`, in eval mode and without gradients.
    """

    def follow(averages: list[Tensor], weights: list[Tensor], number: Tensor | int) -> None:
        step = int(number)
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + step) / (10 + step)))

    ema = AveragedModel(model, multi_avg_fn=follow)  # type: ignore[arg-type]
    return ema.requires_grad_(False).eval()


def update_average(ema: AveragedModel, model: VAE, *, step: int) -> None:
    """Let the average follow the model after a step, counted from the run's first, 1."""
    ema.n_averaged.fill_(step)  # a run that is resumed goes on counting; at 0, torch would copy the weights
    ema.update_parameters(model)
