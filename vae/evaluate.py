"""Scores over a split: always float32, always beta = 1, one posterior sample per image from a stated seed."""

from __future__ import annotations

import torch
from torch import Tensor

from vae.data import to_pixels
from vae.losses import bernoulli_recon, elbo, gaussian_kl
from vae.model import VAE

EVAL_SEED = 0
CHUNK = 1000  # images at a time; the figures don't depend on it


@torch.no_grad()
def evaluate(model: VAE, images: Tensor, *, seed: int = EVAL_SEED) -> dict[str, float]:
    """One-sample ELBO over a split and its terms.

    Args:
        model: left in eval mode.
        images: (N, C, H, W) uint8, on the model's device.
        seed: of the noise, which is drawn once for the whole split.

    Returns:
        `loss` (recon + kl), `recon`, `kl` and `elbo`: means over the images, nats per image.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device scores with the same noise
    noise = torch.randn(len(images), model.latent_dim, generator=generator).to(images.device)
    terms = []
    for chunk, eps in zip(images.split(CHUNK), noise.split(CHUNK), strict=True):
        x = to_pixels(chunk)
        output = model(x, eps)
        recon, kl = bernoulli_recon(output.logits, x), gaussian_kl(output.mu, output.logvar)
        terms.append(torch.stack([recon, kl]))
    recon, kl = torch.cat(terms, dim=1).double().mean(1)
    bound = elbo(recon, kl).item()
    return {"loss": -bound, "recon": recon.item(), "kl": kl.item(), "elbo": bound}


@torch.no_grad()
def posterior(model: VAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """mu and logvar of q(z|x) for every image of a split, (N, D) each, float32."""
    model.eval()
    pairs = [model.encode(to_pixels(chunk)) for chunk in images.split(CHUNK)]
    mu, logvar = zip(*pairs, strict=True)
    return torch.cat(mu), torch.cat(logvar)
