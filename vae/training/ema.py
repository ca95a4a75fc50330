"""An exponential moving average of the weights: what is scored, drawn and saved in place of the last step's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from vae.model.vae import VAE


class WeightAverage:
    """A copy of a model whose weights follow those under training. Polyak & Juditsky 1992; Karras et al. 2024.

    `torch.optim.swa_utils.AveragedModel` gives the same bits in twice the time, and makes a GPU wait in every step.

    Attributes:
        model: the copy, in eval mode and without gradients.

    Args:
        model: under training.
        decay: what the average keeps of itself in a step, in (0, 1). In the first steps it keeps less, so that the
            initial weights are soon forgotten.
    """

    def __init__(self, model: VAE, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        self._averages: list[Tensor] = list(self.model.parameters())
        self._weights: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the trained weights after a step, counted from the run's first, 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        for copy_of, buffer in self._buffers:  # the built-in nets have none
            copy_of.copy_(buffer)
