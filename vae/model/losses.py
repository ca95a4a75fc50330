"""The objective's terms, one number per image; only `free_bits_kl` sees a batch's mean, as its definition asks.

Shapes: B batch, D latent_dim, S samples; images x are (B, ...) of any shape, logits the same or (S, B, ...).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _BernoulliRecon(torch.autograd.Function):
    """softplus(l) - x·l, summed over pixels, and its gradient sigmoid(l) - x.

    In place of `binary_cross_entropy_with_logits`, whose log1p takes a fifth of a training step on a CPU. softplus(l)
    is max(l, 0) - log sigmoid(|l|) here, and one logarithm serves up to 64 pixels: a product of 64 numbers in
    [1/2, 1] is at least 2^-64, far from where float32 ends. An image's value is right to a ten-thousandth of a nat.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        shared = math.gcd(x[0].numel(), 64)  # pixels to a logarithm
        products = logits.flatten(1 - x.ndim).abs().sigmoid_().unflatten(-1, (shared, -1)).prod(-2)
        return _per_image(logits.clamp(min=0).addcmul_(logits, x, value=-1), x) - products.log_().sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, x = ctx.saved_tensors
        return torch.sigmoid(logits).sub_(x).mul_(grad.view(*grad.shape, *[1] * (x.ndim - 1))), None


def _per_image(terms: Tensor, x: Tensor) -> Tensor:
    """Terms of every pixel, (B, ...) or (S, B, ...), summed over the pixels of images x (B, ...)."""
    return terms.flatten(1 - x.ndim).sum(-1)


def bernoulli_recon(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) with p = Bernoulli(sigmoid(logits)), summed over pixels: nats per image, (B,) or (S, B).

    Kingma & Welling 2014, App. C.1. With grey x in [0, 1] it is the cross-entropy that the common scripts minimise.
    """
    return _BernoulliRecon.apply(logits, x)


def squared_error_recon(logits: Tensor, x: Tensor) -> Tensor:
    """Squared error of sigmoid(logits), summed over pixels, (B,) or (S, B).

    -log p(x|z) in nats per image for p = N(sigmoid(logits), 1/2), the constant log(pi)/2 per pixel left out.
    """
    return _per_image((torch.sigmoid(logits) - x).square(), x)


def continuous_bernoulli_recon(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) with p = ContinuousBernoulli(sigmoid(logits)), summed over pixels: nats per image, (B,) or (S, B).

    The Bernoulli term less the log normaliser, log C(lambda) = log(logit / tanh(logit / 2)): Loaiza-Ganem & Cunningham
    2019, eq. 7, written in logits. Near lambda = 1/2 (logit 0), where that is 0 / 0, its Taylor series stands.
    """
    small = logits.abs() < 0.1
    safe = torch.where(small, 1.0, logits).abs()
    # log(l / tanh(l/2)); the inner `where` keeps the unused branch's gradient finite.
    exact = safe.log() - torch.tanh(safe / 2).log()
    square = logits.square()
    series = math.log(2) + square / 12 - 7 * square.square() / 1440  # next term: 31 l^6 / 90720 < 4e-10
    return bernoulli_recon(logits, x) - _per_image(torch.where(small, series, exact), x)


RECON_LOSSES = {
    "bce": bernoulli_recon,
    "mse": squared_error_recon,
    "continuous_bernoulli": continuous_bernoulli_recon,
}


def gaussian_kl_per_dim(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of every latent, nats, (B, D). Kingma & Welling 2014, App. B."""
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)), nats per image, (B,). Kingma & Welling 2014, App. B."""
    return gaussian_kl_per_dim(mu, logvar).sum(1)


def gaussian_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)), nats, (..., D) summed to (...,)."""
    square = (z - mu).square() * torch.exp(-logvar)
    return -0.5 * (square + logvar + math.log(2 * math.pi)).sum(-1)


def standard_normal_log_density(z: Tensor) -> Tensor:
    """log N(z; 0, I), nats, (..., D) summed to (...,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def free_bits_kl(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """The KL as the loss sees it: every latent's batch mean, at least `free_bits`, summed. Kingma et al. 2016, eq. 15.

    Args:
        kl_per_dim: (B, D), nats.
        free_bits: nats per latent that cost nothing; 0 gives the batch mean of the KL.

    Returns:
        Scalar, nats per image.
    """
    return kl_per_dim.mean(0).clamp(min=free_bits).sum()


class Terms(NamedTuple):
    """The two terms of minus the ELBO, nats per image: plain numbers, or tensors of one shape."""

    recon: Any  # -log p(x|z)
    kl: Any  # KL(q(z|x) || p(z))

    @classmethod
    def of(cls, row: Mapping[str, Any], split: str) -> Terms:
        """The terms of a split in an epoch's row of figures."""
        return cls(row[f"{split}/recon"], row[f"{split}/kl"])

    @property
    def elbo(self) -> Any:
        """The evidence lower bound; larger is better. Kingma & Welling 2014, eq. 3."""
        return -(self.recon + self.kl)

    def __str__(self) -> str:
        """`148.02 = 141.60 + 6.42`: minus the ELBO, reconstruction and KL."""
        return f"{-self.elbo:.2f} = {self.recon:.2f} + {self.kl:.2f}"

    def named(self) -> str:
        """`148.02 = 141.60 recon + 6.42 KL`."""
        return f"{-self.elbo:.2f} = {self.recon:.2f} recon + {self.kl:.2f} KL"


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log of the mean importance weight, (S, B) to (B,): a lower bound on log p(x), nats. Burda et al. 2015, eq. 8.

    Args:
        log_weights: log p(x, z) - log q(z|x) of S samples of q(z|x).
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """E[x] of ContinuousBernoulli(sigmoid(logits)), in (0, 1), as `logits`. Loaiza-Ganem & Cunningham 2019, eq. 8."""
    small = logits.abs() < 0.1
    safe = torch.where(small, 1.0, logits)
    exact = 1 / (1 - torch.exp(-safe.clamp(-80, 80))) - 1 / safe  # beyond, exp overflows and the term is 0 or 1
    return torch.where(small, 0.5 + logits / 12 - logits.pow(3) / 720, exact)
