"""An exponential moving average of a model's weights: what is scored, drawn and saved in place of the last step's."""

from __future__ import annotations

import copy

import torch

from vae.model.vae import VAE


class WeightAverage:
    """Keeps `model`, a copy whose weights follow those under training. Polyak & Juditsky 1992; Karras et al. 2024.

    Args:
        trained: the model under training.
        decay: of the average; in the first steps it is shorter, so that the initial weights are soon forgotten.
    """

    def __init__(self, trained: VAE, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(trained).requires_grad_(False).eval()
        self._average: list[torch.Tensor] = list(self.model.parameters())
        self._trained: list[torch.Tensor] = list(trained.parameters())

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Follow the trained weights after step number `steps`, counted from the run's first."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self._average, self._trained, 1 - decay)
