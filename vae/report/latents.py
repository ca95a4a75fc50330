"""The latent space as the report shows it: where the test images lie, how far each latent reaches, where to start.

Shapes: N images of the test split, D latent_dim, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae.data.datasets import Split
from vae.data.pixels import resize
from vae.evaluation.elbo import ACTIVE
from vae.model.vae import VAE
from vae.report.nets import blob

MAX_POINTS = 10_000  # on the map
MAX_STARTS, PER_CLASS, THUMBNAIL = 60, 4, 40  # test images to start from, at most of each class, pixels along a side
MARGIN = 0.06  # around the map, as a part of its side


class Starts(NamedTuple):
    """Test images to start from."""

    images: Tensor  # thumbnails, (n, C, h, w) uint8
    mu: Tensor  # posterior means, (n, D)
    labels: Tensor  # (n,)


@torch.no_grad()
def prior_draws(model: VAE, count: int) -> Tensor:
    """Draws from p(z) with a fixed seed, (count, D) on the CPU."""
    generator = torch.Generator().manual_seed(0)
    return model.prior.sample(count, generator=generator, device=next(model.parameters()).device).cpu()


def active_latents(mu: Tensor, draws: Tensor) -> list[dict[str, Any]]:
    """The active latents, by falling variance of the posterior mean, with the range to move them in."""
    variance, places = mu.var(0, correction=0), torch.cat([mu, draws])
    low, high = places.min(0).values, places.max(0).values
    return [
        {"index": i, "variance": variance[i].item(), "low": low[i].item(), "high": high[i].item()}
        for i in variance.argsort(descending=True).tolist()
        if variance[i] > ACTIVE
    ]


def map_of(mu: Tensor, draws: Tensor, labels: Tensor) -> dict[str, Any]:
    """The map of two latents: its square, and at most MAX_POINTS posterior means of test images within it."""
    corner, side = square(mu, draws)
    mu, labels, total = mu[:MAX_POINTS], labels[:MAX_POINTS].cpu(), len(mu)
    inside = ((mu > corner) & (mu < corner + side)).all(1)
    return {
        "left": corner[0].item(),
        "bottom": corner[1].item(),
        "side": side,
        "points": blob(((mu[inside] - corner) / side).mul(65535).round(), "uint16"),
        "labels": blob(labels[inside], "uint16"),
        "outside": int((~inside).sum()),
        "total": total,
    }


def square(mu: Tensor, draws: Tensor) -> tuple[Tensor, float]:
    """Lower left corner (2,) and side of a square around means and draws, except for a few far out."""
    places = torch.cat([mu[:MAX_POINTS], draws])
    low, high = (torch.quantile(places, level, dim=0) for level in (0.001, 0.999))
    half = (high - low).max() / 2 * (1 + 2 * MARGIN)
    return (low + high) / 2 - half, 2 * half.item()


def choose_starts(test: Split, mu: Tensor, *, classes: int) -> Starts:
    """The first test images of each class, a class after the other."""
    labels = test.labels.cpu()
    count = max(1, min(PER_CLASS, MAX_STARTS // classes)) if classes else PER_CLASS * 5
    members = [(labels == label).nonzero().flatten()[:count].tolist() for label in labels.unique()[:MAX_STARTS]]
    indices = torch.tensor([index for row in zip_longest(*members) for index in row if index is not None])
    images = test.images[indices.to(test.images.device)].cpu()
    return Starts(resize(images, min(THUMBNAIL, images.shape[-1])), mu[indices], labels[indices])
