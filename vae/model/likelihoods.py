"""p(x|z): the built-in likelihoods, which `--recon_loss` names, and the base of others.

Shapes: B batch, C channels, H height, W width, S samples, R numbers that describe a pixel.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.model.losses import (
    bernoulli_recon,
    continuous_bernoulli_mean,
    continuous_bernoulli_recon,
    squared_error_recon,
)


class Likelihood(nn.Module):
    """A distribution of images given what the decoder returns. A subclass has `name`, `recon` and perhaps `mean`.

    It may have parameters, which are trained with the nets.

    Attributes:
        name: of the distribution, in a few words: it stands beside every figure.
        support: what the distribution gives a probability to: `binary` pixels or 256 `levels`; or a density on
            `continuous` pixels.
        outputs_per_pixel: R; the built-in decoders return (B, R·C, H, W).
        log_normalizer: what `recon` leaves out of -log p(x|z), nats per pixel.
    """

    name: str
    support: Literal["binary", "levels", "continuous"] = "continuous"
    outputs_per_pixel: int = 1
    log_normalizer: float = 0.0

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), the reconstruction term, nats per image, (B,) or (S, B).

        Args:
            logits: what the decoder returns, (B, ...) or (S, B, ...), float32.
            x: images in [0, 1], (B, C, H, W).
        """
        raise NotImplementedError

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z] for pictures, (..., C, H, W) in [0, 1]: here the sigmoid of the logits."""
        return torch.sigmoid(logits)

    def least_recon(self, x: Tensor) -> Tensor | None:
        """The least reconstruction term that any decoder can reach, nats per image, (B,); `None` if it has no bound."""
        return None


class Bernoulli(Likelihood):
    """A probability of binary pixels, or the cross-entropy of grey ones."""

    name = "bce"
    support = "binary"

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), nats per image, (B,) or (S, B)."""
        return bernoulli_recon(logits, x)

    def least_recon(self, x: Tensor) -> Tensor:
        """The entropy of pixels with these grey levels as their means, nats per image, (B,); 0 for binary pixels."""
        return F.binary_cross_entropy(x, x, reduction="none").flatten(1).sum(1)


class SquaredError(Likelihood):
    """A Gaussian of variance 1/2 around the sigmoid of the logits, without its constant."""

    name = "mse"
    log_normalizer = 0.5 * math.log(math.pi)

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z) without its constant, nats per image, (B,) or (S, B)."""
        return squared_error_recon(logits, x)


class ContinuousBernoulli(Likelihood):
    """A density of pixels in [0, 1]. Loaiza-Ganem & Cunningham 2019."""

    name = "continuous_bernoulli"

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), nats per image, (B,) or (S, B)."""
        return continuous_bernoulli_recon(logits, x)

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z], which is not the sigmoid of the logits."""
        return continuous_bernoulli_mean(logits)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    likelihood.name: likelihood for likelihood in (Bernoulli, SquaredError, ContinuousBernoulli)
}


def is_built_in(likelihood: Likelihood) -> bool:
    """Whether a likelihood is one of these, and not a subclass, which may compute something else."""
    return type(likelihood) in LIKELIHOODS.values()
