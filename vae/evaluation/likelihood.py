"""Importance-weighted likelihoods: log p(x) of every image from K samples of q(z|x), in memory independent of K.

Nets run in float32 with beta 1; sums over samples are float64. The noise comes in blocks of fixed size, each seeded by
the seed and the block's place: no score depends on how much is decoded at a time, and a larger K adds to the samples of
a smaller one.

Shapes: N images of the split, B images of a block, S samples of a block, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.evaluation.elbo import EVAL_SEED
from vae.model.linear import scoring
from vae.model.losses import Terms, gaussian_kl, gaussian_log_density
from vae.model.vae import VAE, reparameterize
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup

BLOCK_IMAGES, BLOCK_SAMPLES = 100, 50  # size of a block of noise: changing it changes the noise
LOGITS_AT_ONCE = 160_000  # 200 MNIST images: what a decoder computes of them stays in a CPU's cache
GPU_LOGITS_AT_ONCE = 2**25


class ImageBounds(NamedTuple):
    """Bounds of every image from K samples: (N,) float64 on the CPU each; all but `ess` in nats per image."""

    nll: Tensor  # minus the importance-weighted bound: on average above -log p(x), which it approaches as K grows
    elbo: Tensor
    recon: Tensor  # -log p(x|z), mean over the samples
    kl: Tensor  # in closed form if the prior is the standard normal, else the mean over the samples
    ess: Tensor  # effective sample size, (sum w)² / sum w², from 1 to K


@scoring()
def importance_bounds(
    model: VAE,
    split: Split,
    *,
    num_samples: int,
    seed: int = EVAL_SEED,
    logits_at_once: int | None = None,
    on_samples: Callable[[int], None] = lambda count: None,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> ImageBounds:
    """Compute bounds on log p(x) for every image of a split. Burda et al. 2015, sec. 3 and 5.

    Args:
        model: left in eval mode.
        split: on the model's device.
        num_samples: K.
        seed: of the noise.
        logits_at_once: decoded pixels in memory at a time; the scores don't depend on it. `None`: a fast choice.
        on_samples: called with the number of samples newly decoded by all processes, in the main one N · K in all.
        processes: they take the blocks of images in turn, and each returns the bounds of the whole split.
    """
    model.eval()
    if logits_at_once is None:
        logits_at_once = LOGITS_AT_ONCE if split.device.type == "cpu" else GPU_LOGITS_AT_ONCE
    size, turn = len(split), BLOCK_IMAGES * processes.world_size
    per_image = torch.zeros(len(ImageBounds._fields), size, dtype=torch.float64, device=split.device)
    for first in range(BLOCK_IMAGES * processes.rank, size, turn):
        index, here = first // BLOCK_IMAGES, slice(first, first + BLOCK_IMAGES)
        images = split.gather(torch.arange(first, min(first + BLOCK_IMAGES, size)))
        block = _Block(model, to_pixels(images), split.labels[here], chunk=max(1, logits_at_once // images.numel()))
        for start in range(0, num_samples, BLOCK_SAMPLES):
            count = min(BLOCK_SAMPLES, num_samples - start)
            block.add(_noise(seed, index, start // BLOCK_SAMPLES, model.latent_dim)[:count, : len(images)])
            on_samples(count * min(turn, size - first))  # the others are at the blocks that follow
        per_image[:, here] = torch.stack(block.bounds())
    processes.wait_for_all()
    return ImageBounds(*processes.all_reduce(per_image).cpu())  # every column is zero in all processes but one


def _noise(seed: int, image_block: int, sample_block: int, latent_dim: int) -> Tensor:
    """A block's eps (BLOCK_SAMPLES, BLOCK_IMAGES, D), on the CPU, so that every device scores with the same noise."""
    generator = np.random.default_rng([seed, image_block, sample_block])
    return torch.from_numpy(generator.standard_normal((BLOCK_SAMPLES, BLOCK_IMAGES, latent_dim), dtype=np.float32))


class _Block:
    """Running sums over the samples of a block of images, which are encoded once.

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
        self.recon_sum = self.kl_sum = zero
        self.log_sum = self.log_sum_squares = zero - math.inf  # of the importance weights

    def add(self, eps: Tensor) -> None:
        """Add the samples z = mu + sigma · eps, eps (S, B, D)."""
        z = reparameterize(self.mu, self.logvar, eps.to(self.mu.device))
        chunks = [self.model.recon(self.model.logits(chunk, self.y), self.x) for chunk in z.split(self.chunk)]
        recon = torch.cat(chunks).double()  # (S, B)
        kl = (gaussian_log_density(z, self.mu, self.logvar) - self.model.prior.log_prob(z)).double()
        log_weights = -recon - kl
        self.count += len(z)
        self.recon_sum, self.kl_sum = self.recon_sum + recon.sum(0), self.kl_sum + kl.sum(0)
        self.log_sum = torch.logaddexp(self.log_sum, torch.logsumexp(log_weights, dim=0))
        self.log_sum_squares = torch.logaddexp(self.log_sum_squares, torch.logsumexp(2 * log_weights, dim=0))

    def bounds(self) -> ImageBounds:
        """The bounds from all samples so far, (B,) each."""
        recon, kl = self.recon_sum / self.count, self.kl_sum / self.count
        if self.model.has_closed_form_kl:
            kl = gaussian_kl(self.mu, self.logvar).double()
        nll = math.log(self.count) - self.log_sum
        return ImageBounds(nll, Terms(recon, kl).elbo, recon, kl, torch.exp(2 * self.log_sum - self.log_sum_squares))
