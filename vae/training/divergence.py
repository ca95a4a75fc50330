"""Stops a training whose terms, gradients or weights are no longer finite, and names which of them and the step.

From the first step on whose terms are not finite, the weights don't move. So a check up to a hundred steps later can
still tell the cases apart: with finite weights that step's forward pass failed, otherwise the update before it did.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from vae.model.vae import VAE
from vae.system.errors import UserError

CHECK_EVERY = 100  # steps; on a GPU once per epoch, since every check waits for the device
SMALLEST_SCALE = 2.0**-14  # of a float16 loss; gradients that overflow even at this scale are not finite


class DivergedError(UserError):
    """A term, a gradient or a weight is no longer a finite number."""


class Watch:
    """Keeps the terms of an epoch's steps, and checks them and the weights.

    Attributes:
        terms: loss, reconstruction term and KL of each step, summed over its images in all processes, (steps, 3).
        halted: scalar, 1 from the first step on whose terms were not finite.
    """

    def __init__(self, model: VAE, optimizer: Optimizer, scaler: GradScaler, *, epoch: int, steps: int) -> None:
        self._weights = dict(model.named_parameters())
        self._optimizer, self._scaler, self._epoch = optimizer, scaler, epoch
        self.terms = torch.zeros(steps, 3, device=next(model.parameters()).device)
        self.halted = self.terms.new_zeros(())
        self._steps_done = 0
        self._halts = bool(optimizer.defaults.get("fused"))  # else the weights may have moved after bad terms
        if self._halts:
            optimizer.found_inf = self.halted  # type: ignore[attr-defined]  # where this is 1, it makes no update

    def record(self, terms: Tensor) -> None:
        """Keep a step's loss, reconstruction term and KL, (3,), before its gradient moves the weights."""
        self.terms[self._steps_done] = terms
        self.halted.add_((terms.sum() * 0).nan_to_num_(1.0)).clamp_(max=1)  # 0 · x is 0 for a finite x, else NaN
        self._steps_done += 1
        if self._steps_done % CHECK_EVERY == 0 and not self.terms.is_cuda:
            self.check()

    def check(self) -> None:
        """Raise a DivergedError if anything so far was not finite; it names what was the first, and the step."""
        finite = self.terms[: self._steps_done].isfinite()  # (steps so far, 3)
        good_steps = int(finite.all(1).int().cumprod(0).sum())
        weights = _parts_not_finite(self._weights)
        if weights and good_steps and (self._halts or good_steps == self._steps_done):
            means = {name: self._optimizer.state[w].get("exp_avg", self.halted) for name, w in self._weights.items()}
            gradients = _parts_not_finite(means)  # Adam's running mean remembers them
            what, step = f"gradient of the {gradients} was" if gradients else f"{weights}'s weights were", good_steps
        elif good_steps < self._steps_done:
            _, recon, kl = finite[good_steps].tolist()
            term = "reconstruction term" if not recon else "KL term" if not kl else "loss"
            what, step = f"{term} was", good_steps + 1
        elif self._scaler.is_enabled() and self._scaler.get_scale() < SMALLEST_SCALE:
            what, step = "float16 gradients were", self._steps_done
        else:
            return
        hint = "try a smaller --lr, --grad_clip 1, or --precision fp32"
        raise DivergedError(f"the {what} no longer finite in epoch {self._epoch}, step {step}: {hint}")


def _parts_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The model's parts, such as `encoder and decoder`, of which a named tensor holds NaN or an infinite number."""
    finite = torch.stack([tensor.detach().abs().max() for tensor in tensors.values()]).isfinite().tolist()
    parts = [name.partition(".")[0] for name, good in zip(tensors, finite, strict=True) if not good]
    return " and ".join(dict.fromkeys(parts))
