"""Scores over a split: always float32, always beta = 1, one posterior sample per image from a stated seed.

Shapes: N images of the split, D latent_dim.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vae.data.datasets import Split
from vae.data.pixels import to_pixels
from vae.evaluation.onednn import quickened
from vae.model.losses import RECON_LOSSES, Terms, gaussian_kl_per_dim
from vae.model.vae import VAE
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup

EVAL_SEED = 0
CHUNK = 1000  # images at a time; the figures don't depend on it
ACTIVE = 0.01  # a latent is active if its posterior mean varies by more than this: Burda et al. 2015, sec. 5.2


class Scores(NamedTuple):
    """What a split says of a model, means over its images in nats per image."""

    loss: float  # recon + kl, minus the ELBO
    recon: float
    kl: float
    elbo: float
    active_units: int  # latents whose posterior mean has a variance above ACTIVE over the split
    kl_per_dim: list[float]  # (D,), of q(z|x) from N(0, 1); adds up to kl where that is the prior


@torch.no_grad()
def evaluate(model: VAE, split: Split, *, seed: int = EVAL_SEED, processes: ProcessGroup = SINGLE_PROCESS) -> Scores:
    """One-sample ELBO over a split, its terms, and what each latent carries.

    Args:
        model: left in eval mode.
        split: on the model's device.
        seed: of the noise, which is drawn once for the whole split.
        processes: the processes that share the images; each gets the whole split's figures.
    """
    model = quickened(model.eval())
    device = split.images.device
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device scores with the same noise
    noise = torch.randn(len(split), model.latent_dim, generator=generator).to(device)
    found = torch.zeros(
        len(split), 2 + 2 * model.latent_dim, device=device
    )  # of every image: recon, kl, kl_per_dim, mu
    for index in processes.shard(torch.arange(len(split), device=device)).split(CHUNK):
        x = to_pixels(split.images[index])
        output = model(x, split.labels[index], noise[index])
        terms = torch.stack([RECON_LOSSES[model.recon_loss](output.logits, x), model.kl(output)], dim=1)  # (B, 2)
        found[index] = torch.cat([terms, gaussian_kl_per_dim(output.mu, output.logvar), output.mu], dim=1)
    found = processes.all_reduce(found).cpu().double()  # every row is zero in all processes but one
    recon, kl = found[:, :2].mean(0)
    kl_per_dim, mu = found[:, 2:].chunk(2, dim=1)
    bound = Terms(recon, kl).elbo.item()
    kl_per_dim, active = kl_per_dim.mean(0), mu.var(0, correction=0) > ACTIVE
    return Scores(-bound, recon.item(), kl.item(), bound, int(active.sum()), kl_per_dim.tolist())


@torch.no_grad()
def score_images(model: VAE, x: Tensor, y: Tensor | None = None, *, samples: int = 1, seed: int = EVAL_SEED) -> Terms:
    """Each image's reconstruction term and KL, (N,) each, nats, float64 on the CPU.

    Args:
        model: left in eval mode.
        x: (N, C, H, W) in [0, 1], on the model's device.
        y: labels (N,) for a conditional model.
        samples: draws from q(z|x) that recon, and the kl of a learned prior, are the mean over.
        seed: of the draws.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    recons, kls = [], []
    for index in torch.arange(len(x)).split(CHUNK):
        part, labels = x[index], None if y is None else y[index]
        recon, kl = torch.zeros(2, len(part), dtype=torch.float64)
        for _ in range(samples):
            eps = torch.randn(len(part), model.latent_dim, generator=generator).to(part.device)
            output = model(part, labels, eps)
            recon += RECON_LOSSES[model.recon_loss](output.logits, part).cpu().double() / samples
            kl += model.kl(output).cpu().double() / samples
        recons.append(recon)
        kls.append(kl)
    return Terms(torch.cat(recons), torch.cat(kls))


@torch.no_grad()
def posterior(model: VAE, split: Split) -> tuple[Tensor, Tensor]:
    """mu and logvar of q(z|x) for every image of a split, (N, D) each, float32."""
    model.eval()
    chunks = zip(split.images.split(CHUNK), split.labels.split(CHUNK), strict=True)
    mu, logvar = zip(*(model.encode(to_pixels(images), y) for images, y in chunks), strict=True)
    return torch.cat(mu), torch.cat(logvar)
