"""Notices that training has left the numbers and tells what left them first, without waiting for the device each step.

From the first step on whose terms are not finite, the weights stay as they are. So a look at them, up to a hundred
steps later or, on a GPU, at the epoch's end, tells the cases apart: sound weights mean that the forward pass went
wrong, others that the last step did.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vae.model.vae import VAE
from vae.system.errors import UserError

CHECK_EVERY = 100  # steps between looks; a GPU would have to be waited for
LEAST_SCALE = 2.0**-14  # of a float16 loss; gradients that overflow even so are no numbers


class DivergedError(UserError):
    """A term, a gradient or a weight is no longer a finite number."""


class Watch:
    """Keeps the terms of an epoch's steps and looks at them now and then.

    Attributes:
        halted: scalar, 1 from the first step on whose terms were not finite.

    Args:
        model: under training.
        optimizer: of its parameters; only a fused one can be told to stand still.
        scaler: of the loss; it skips float16 gradients that overflow, which is no fault unless they always do.
        epoch: for the message.
        steps: how many the epoch has.
        total: the sum of a tensor over all processes that train.
    """

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        epoch: int,
        steps: int,
        total: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ) -> None:
        self._total = total
        self._weights = dict(model.named_parameters())
        self._optimizer, self._scaler, self._epoch, self._done = optimizer, scaler, epoch, 0
        device = next(model.parameters()).device
        self.terms = torch.zeros(steps, 3, device=device)  # loss, recon and kl of every step, summed over its images
        self.halted = torch.zeros((), device=device)
        self._can_halt = bool(optimizer.defaults.get("fused"))
        if self._can_halt:
            optimizer.found_inf = self.halted  # type: ignore[attr-defined]  # it makes no step where this is 1

    def record(self, row: Tensor) -> None:
        """Keep a step's loss, recon and kl, (3,), summed over its images, before its gradient moves the weights."""
        self.terms[self._done] = row
        self.halted.add_((row.sum() * 0).nan_to_num_(1.0)).clamp_(max=1)  # 0 times a number is 0, else NaN
        self._done += 1
        if self._done % CHECK_EVERY == 0 and self.halted.device.type != "cuda":
            self.check()

    def check(self) -> None:
        """Look at everything so far.

        Raises:
            DivergedError: it names what was no longer finite, and at which step.
        """
        bad = ~self._total(self.terms[: self._done]).isfinite()  # (steps so far, 3)
        unsound = ~self._total(torch.stack([weights.detach().sum() for weights in self._weights.values()])).isfinite()
        if not bool(bad.any() | unsound.any()):
            if self._scaler.is_enabled() and self._scaler.get_scale() < LEAST_SCALE:
                raise self._error("float16 gradients were", self._done)
            return
        hit = bad.any(1)
        sound_steps = int(hit.nonzero()[0]) if hit.any() else self._done
        if sound_steps and unsound.any() and (self._can_halt or not hit.any()):
            raise self._error(self._broken(), sound_steps)
        _, recon, kl = bad[sound_steps].tolist()
        name = "reconstruction term" if recon else "KL term" if kl else "loss"
        raise self._error(f"the {name} was", sound_steps + 1)

    def _broken(self) -> str:
        """What made the weights unsound: a gradient, which its running mean remembers, or too long a step."""
        state = self._optimizer.state
        gradients = self._parts(lambda weights: state[weights].get("exp_avg", weights.new_zeros(())))
        weights = self._parts(lambda w: w)
        told = f"the {weights}'s weights were" if weights else "the sum of the weights was"
        return f"the gradient of the {gradients} was" if gradients else told

    def _parts(self, of: Callable[[Tensor], Tensor]) -> str:
        """The model's parts that have something not finite `of` a weight."""
        found = [name.partition(".")[0] for name, weights in self._weights.items() if not of(weights).isfinite().all()]
        return " and ".join(dict.fromkeys(found))

    def _error(self, what: str, step: int) -> DivergedError:
        hint = "try a smaller --lr, --grad_clip 1, or --precision fp32"
        return DivergedError(f"{what} no longer finite in epoch {self._epoch}, step {step}: {hint}")
