"""Importance-weighted likelihoods: log p(x) of every image from K samples of q(z|x), in memory that K doesn't touch.

Always float32 nets and beta 1; sums over samples are float64. The noise comes in blocks of fixed size, each from the
seed and its own place, so that no figure depends on how much is decoded at a time, and K samples are the first of more.

Shapes: N images of the split, B images of a block, S samples of a block, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae.data.datasets import Split
from vae.data.pixels import to_pixels
from vae.evaluation.elbo import EVAL_SEED
from vae.evaluation.onednn import quickened
from vae.model.losses import RECON_LOSSES, Terms, gaussian_kl, gaussian_log_density, iwae_bound
from vae.model.priors import StandardNormal
from vae.model.vae import VAE

BLOCK_IMAGES, BLOCK_SAMPLES = 100, 50  # a block of noise: changing them changes the noise
LOGITS_AT_ONCE = 800_000  # of a CPU: 1,000 MNIST images, which stay in its cache
GPU_LOGITS_AT_ONCE = 2**25


class ImageBounds(NamedTuple):
    """What K samples say of every image: (N,) float64 on the CPU each, nats per image but for `ess`."""

    nll: Tensor  # minus the importance-weighted bound: at least -log p(x) on average, and equal to it as K grows
    elbo: Tensor
    recon: Tensor  # -log p(x|z), mean over the samples
    kl: Tensor  # in closed form where the prior is the standard normal, else the mean over the samples
    ess: Tensor  # effective sample size, (sum w)² / sum w², from 1 to K


@torch.no_grad()
def importance_bounds(
    model: VAE,
    split: Split,
    *,
    num_samples: int,
    seed: int = EVAL_SEED,
    logits_at_once: int | None = None,
    on_samples: Callable[[int], None] = lambda count: None,
) -> ImageBounds:
    """Bounds on log p(x) for every image of a split. Burda et al. 2015, sec. 3 and 5.

    Args:
        model: left in eval mode.
        split: on the model's device.
        num_samples: K.
        seed: of the noise.
        logits_at_once: decoded pixels in memory at a time; the figures don't depend on it. `None`: what is quick.
        on_samples: told how many more samples are decoded, N · K in all.
    """
    model.eval()
    quick = quickened(model)
    at_once = logits_at_once or (LOGITS_AT_ONCE if split.images.device.type == "cpu" else GPU_LOGITS_AT_ONCE)
    parts = []
    blocks = zip(split.images.split(BLOCK_IMAGES), split.labels.split(BLOCK_IMAGES), strict=True)
    for index, (images, y) in enumerate(blocks):
        block = _Block(quick, to_pixels(images), y, chunk=max(1, at_once // images.numel()))
        for start in range(0, num_samples, BLOCK_SAMPLES):
            count = min(BLOCK_SAMPLES, num_samples - start)
            block.add(_noise(seed, index, start // BLOCK_SAMPLES, model.latent_dim)[:count, : len(images)])
            on_samples(count * len(images))
        parts.append(block.bounds())
    return ImageBounds(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))


def has_closed_form_kl(model: VAE) -> bool:
    """Whether the prior is the standard normal, whose KL from q(z|x) needs no samples."""
    return isinstance(model.prior, StandardNormal)


def mse_log_normalizer(model: VAE) -> float:
    """Nats per image that belong to -log p(x|z) and that `recon` leaves out: the constant of the squared error."""
    return math.prod(model.image_shape) * 0.5 * math.log(math.pi) if model.recon_loss == "mse" else 0.0


def _noise(seed: int, image_block: int, sample_block: int, latent_dim: int) -> Tensor:
    """A whole block's eps (BLOCK_SAMPLES, BLOCK_IMAGES, D) on the CPU: every device scores with the same."""
    generator = np.random.default_rng([seed, image_block, sample_block])
    return torch.from_numpy(generator.standard_normal((BLOCK_SAMPLES, BLOCK_IMAGES, latent_dim), dtype=np.float32))


class _Block:
    """Running sums over the samples of a block of images, encoded once.

    Args:
        model: in eval mode.
        x: (B, C, H, W) in [0, 1].
        y: (B,).
        chunk: samples to decode at a time.
    """

    def __init__(self, model: VAE, x: Tensor, y: Tensor, *, chunk: int) -> None:
        self.model, self.x, self.y, self.chunk = model, x, y, chunk
        self.mu, self.logvar = model.encode(x, y)
        self.count = 0
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self.recon, self.sampled_kl = zero, zero  # sums over the samples so far
        self.log_sum = self.log_sum_squares = zero - math.inf  # of the weights

    def add(self, eps: Tensor) -> None:
        """Take in samples z = mu + sigma · eps, eps (S, B, D)."""
        z = self.mu + torch.exp(0.5 * self.logvar) * eps.to(self.mu.device)
        recon = self._recon(z).double()  # (S, B)
        kl = (gaussian_log_density(z, self.mu, self.logvar) - self.model.prior.log_prob(z)).double()
        log_weights = -recon - kl
        self.count += len(z)
        self.recon, self.sampled_kl = self.recon + recon.sum(0), self.sampled_kl + kl.sum(0)
        self.log_sum = torch.logaddexp(self.log_sum, iwae_bound(log_weights) + math.log(len(z)))
        self.log_sum_squares = torch.logaddexp(self.log_sum_squares, torch.logsumexp(2 * log_weights, dim=0))

    def _recon(self, z: Tensor) -> Tensor:
        """-log p(x|z), (S, B), a few samples at a time."""
        loss = RECON_LOSSES[self.model.recon_loss]
        return torch.cat([loss(self.model.logits(part, self.y), self.x) for part in z.split(self.chunk)])

    def bounds(self) -> ImageBounds:
        """The bounds from all samples taken in, (B,) each."""
        recon = self.recon / self.count
        closed = has_closed_form_kl(self.model)
        kl = gaussian_kl(self.mu, self.logvar).double() if closed else self.sampled_kl / self.count
        nll = math.log(self.count) - self.log_sum
        return ImageBounds(nll, Terms(recon, kl).elbo, recon, kl, torch.exp(2 * self.log_sum - self.log_sum_squares))
