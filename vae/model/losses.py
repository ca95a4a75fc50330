"""The terms of the objective: functions of tensors that return one number per image.

Shapes: B batch, D latent_dim, S samples; images x are (B, ...), logits (B, ...) or (S, B, ...).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

# -log p(x|z), the reconstruction term, for the likelihoods in `likelihoods`.


def bernoulli_recon(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) with p = Bernoulli(sigmoid(logits)), summed over pixels: nats per image, (B,) or (S, B).

    Kingma & Welling 2014, App. C.1. With grey x in [0, 1] it is the cross-entropy that most public scripts minimise.
    """
    return _sum_pixels(_bernoulli_terms(logits, x), x)


def bernoulli_mixture_recon(logits: Tensor, log_weights: Tensor, patches: Tensor) -> Tensor:
    """-log p(x|z) of patches that are each a mixture of products of Bernoullis: nats per image, (B,) or (S, B).

    The component of a patch is a discrete latent that is summed out: log sum over k of w_k times the product over m of
    Bernoulli(x_m; sigmoid(logits_km)), summed over patches. Bishop 2006, eq. 9.47. It takes binary pixels.

    Args:
        logits: (..., N, K, M) for N patches of M pixels and K components.
        log_weights: (..., N, K), up to a constant for each patch.
        patches: (B, N, M), 0 or 1.
    """
    components = _bernoulli_terms(logits, patches.unsqueeze(-2)).sum(-1)  # (..., N, K)
    return -torch.logsumexp(log_weights.log_softmax(-1) - components, dim=-1).sum(-1)


def _bernoulli_terms(logits: Tensor, x: Tensor) -> Tensor:
    """-log Bernoulli(x; sigmoid(logits)) of every pixel, nats.

    It equals `F.binary_cross_entropy_with_logits`, but has log(1 + y) in place of log1p(y), which PyTorch 2.14 computes
    on a CPU 20 times as slowly. That costs a precision of 6e-8 nats at most.
    """
    x, size = x.expand_as(logits), logits.abs()
    return (0.5 - x) * logits + 0.5 * size + torch.log(1 + torch.exp(-size))


def squared_error_recon(logits: Tensor, x: Tensor) -> Tensor:
    """Squared error of sigmoid(logits), summed over pixels: nats per image, (B,) or (S, B).

    It is -log p(x|z) with p = N(sigmoid(logits), 1/2) without the constant, log(pi)/2 per pixel.
    """
    return _sum_pixels((torch.sigmoid(logits) - x).square(), x)


def continuous_bernoulli_recon(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) with p = ContinuousBernoulli(sigmoid(logits)), summed over pixels: nats per image, (B,) or (S, B).

    The Bernoulli term minus the log normaliser, which is log(l / tanh(l / 2)) in logits l: Loaiza-Ganem & Cunningham
    2019, eq. 7. It is 0 / 0 at l = 0, so that its Taylor series replaces it near there.
    """
    is_small = logits.abs() < 0.1
    safe = torch.where(is_small, 1.0, logits).abs()  # keeps the gradient of the branch that isn't taken finite
    exact = safe.log() - torch.tanh(safe / 2).log()
    square = logits.square()
    series = math.log(2) + square / 12 - 7 * square.square() / 1440  # the next term, 31 l^6 / 90720, is below 4e-10
    return bernoulli_recon(logits, x) - _sum_pixels(torch.where(is_small, series, exact), x)


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """E[x] of ContinuousBernoulli(sigmoid(logits)), in (0, 1), as `logits`. Loaiza-Ganem & Cunningham 2019, eq. 8."""
    is_small = logits.abs() < 0.5  # where the difference of two large terms would lose digits
    safe, near = torch.where(is_small, 1.0, logits), torch.where(is_small, logits, 0.0)
    exact = 1 / (1 - torch.exp(-safe.clamp(-80, 80))) - 1 / safe  # beyond 80, exp overflows and the term is 0 or 1
    return torch.where(is_small, 0.5 + near / 12 - near.pow(3) / 720 + near.pow(5) / 30240, exact)


def _sum_pixels(terms: Tensor, x: Tensor) -> Tensor:
    """Sum terms of every pixel, (B, ...) or (S, B, ...), over the pixels of x (B, ...)."""
    return terms.flatten(1 - x.ndim).sum(-1)


# Gaussians, and KL(q(z|x) || p(z)).


def gaussian_log_density_per_dim(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)) of every latent, nats, (..., D)."""
    square = (z - mu).square() * torch.exp(-logvar)
    return -0.5 * (square + logvar + math.log(2 * math.pi))


def gaussian_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)), nats, (..., D) summed to (...,)."""
    return gaussian_log_density_per_dim(z, mu, logvar).sum(-1)


def standard_normal_log_density(z: Tensor) -> Tensor:
    """log N(z; 0, I), nats, (..., D) summed to (...,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def gaussian_kl_per_dim(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of every latent, nats, (B, D). Kingma & Welling 2014, App. B."""
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)), nats per image, (B,). Kingma & Welling 2014, App. B."""
    return gaussian_kl_per_dim(mu, logvar).sum(1)


def free_bits_kl(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """The KL that the loss charges for: the sum over latents of max(batch mean, free_bits). Kingma et al. 2016, eq. 15.

    Args:
        kl_per_dim: (B, D), nats.
        free_bits: nats per latent that cost nothing; 0 gives the batch mean of the KL.

    Returns:
        Scalar, nats per image.
    """
    return kl_per_dim.mean(0).clamp(min=free_bits).sum()


def total_correlation(z: Tensor, mu: Tensor, logvar: Tensor, *, num_images: int) -> Tensor:
    """Estimate KL(q(z) || q(z_1) ··· q(z_D)) from a batch: a term of each image, nats, (B,) or (S, B).

    The aggregate posterior q(z) is the mean of q(z|x) over all N training images. At an image's sample, the batch
    stands for it: the image's own q(z|x), which is always there, weighs 1 / N, and the B - 1 others share the rest.
    That is unbiased for q(z), and exact if the batch is the whole set: the stratified sampling of Chen et al. 2018,
    app. C.2, averaged over the order of the batch. Equal weights, 1 / (N B) in app. C.1, give the own q(z|x) N / B
    times its share, so that every batch seems to be the whole set. The logarithm is too low by what the batch doesn't
    show, most of all in q(z): where latents carry far more than log B nats, the estimate falls below 0.

    Args:
        z: samples of the images' posteriors, (B, D) or (S, B, D).
        mu: (B, D).
        logvar: (B, D).
        num_images: N, at least B.
    """
    size = len(mu)
    if size == 1:  # as all of a set: the posterior of an image is a product
        return torch.zeros_like(z[..., 0])
    log_weights = mu.new_full((size, size), math.log((num_images - 1) / (num_images * (size - 1))))
    log_weights = log_weights.fill_diagonal_(-math.log(num_images))
    log_densities = gaussian_log_density_per_dim(z.unsqueeze(-2), mu, logvar)  # (..., B, B, D), of each z for each x
    log_joint = (log_densities.sum(-1) + log_weights).logsumexp(-1)
    return log_joint - (log_densities + log_weights.unsqueeze(-1)).logsumexp(-2).sum(-1)


# Bounds on log p(x).


class Terms(NamedTuple):
    """The two terms of minus the ELBO, nats per image: plain numbers, or tensors of one shape."""

    recon: Any  # -log p(x|z)
    kl: Any  # KL(q(z|x) || p(z))

    @classmethod
    def of(cls, row: Mapping[str, Any], split: str) -> Terms:
        """The terms of a split in a row of an epoch's metrics."""
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
        log_weights: log p(x, z) - log q(z|x) at S samples z of q(z|x).
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))
