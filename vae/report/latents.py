"""The latent space as the report shows it: where the test images lie, what each latent carries, where to start.

Shapes: N images of the test split, D latent_dim, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae.data.pixels import resize
from vae.data.splits import Split
from vae.evaluation.elbo import ACTIVE
from vae.evaluation.latents import MIN_SPREAD, axis_titles, principal_axes
from vae.model.vae import VAE
from vae.report.nets import blob
from vae.report.sprites import sheet

MAX_POINTS, MAX_NUMBERS = 10_000, 200_000  # on the map, and latents of all of them together
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


def active_latents(mu: Tensor, kl_per_dim: Sequence[float]) -> list[dict[str, Any]]:
    """The active latents, by falling KL from N(0, 1) in nats."""
    variance = mu.var(0, correction=0)
    order = sorted(range(len(variance)), key=lambda index: -kl_per_dim[index])
    return [{"index": index, "kl": kl_per_dim[index]} for index in order if variance[index] > ACTIVE]


def map_of(mu: Tensor, draws: Tensor, test: Split, *, max_points: int = MAX_POINTS) -> dict[str, Any]:
    """A map of the first test images' posterior means, with a picture of each, and how places on it come from latents.

    Two latents are the map's axes themselves; of more, these are the principal axes of all the means. The square holds
    all but a few means and draws from the prior.

    Args:
        mu: posterior means of the test split, (N, D), with D at least 2.
        draws: from the prior, (n, D).
        test: the test split.
        max_points: images on the map, at most.
    """
    centre, axes, titles = plane(mu)
    pictures = sheet(test, min(max_points, MAX_NUMBERS // mu.shape[1]))
    mu, total = mu[: pictures["count"]], len(mu)
    places = (torch.cat([mu, draws]) - centre) @ axes.T
    corner, side = square(places)
    low = mu.min(0).values
    step = ((mu.max(0).values - low) / 65535).clamp(min=1e-12)
    inside = ((places[: len(mu)] > corner) & (places[: len(mu)] < corner + side)).all(1)
    return {
        "z": blob(((mu - low) / step).round(), "uint16"),
        "low": low.tolist(),
        "step": step.tolist(),
        "labels": blob(test.labels[: len(mu)], "uint16"),
        "pictures": pictures,
        "centre": centre.tolist(),
        "axes": axes.tolist(),
        "titles": titles,
        "left": corner[0].item(),
        "bottom": corner[1].item(),
        "side": side,
        "outside": int((~inside).sum()),
        "total": total,
    }


def plane(mu: Tensor) -> tuple[Tensor, Tensor, tuple[str, str]]:
    """A map's origin (D,), its orthonormal axes (2, D) and their titles, from posterior means (N, D).

    These are two latents themselves, or else the principal axes of the means. Of one latent there is one axis.
    """
    latent_dim = mu.shape[1]
    if latent_dim <= 2 or mu.std(0).max() < MIN_SPREAD:  # a posterior that has collapsed has no principal axes
        return torch.zeros(latent_dim), torch.eye(latent_dim)[:2], ("z1", "z2" if latent_dim > 1 else "")
    centre, axes, shares = principal_axes(mu.numpy())
    return torch.from_numpy(centre).float(), torch.from_numpy(axes).float(), axis_titles(shares)


def square(places: Tensor) -> tuple[Tensor, float]:
    """Lower left corner (2,) and side of a square around places (n, 2), except for a few far out."""
    low, high = (torch.quantile(places, level, dim=0) for level in (0.001, 0.999))
    half = ((high - low).max() / 2 * (1 + 2 * MARGIN)).clamp(min=1)
    return (low + high) / 2 - half, 2 * half.item()


def choose_starts(test: Split, mu: Tensor, *, classes: int) -> Starts:
    """The first test images of each class, a class after the other."""
    labels = test.labels.cpu()
    count = max(1, min(PER_CLASS, MAX_STARTS // classes)) if classes else PER_CLASS * 5
    members = [(labels == label).nonzero().flatten()[:count].tolist() for label in labels.unique()[:MAX_STARTS]]
    indices = torch.tensor([index for row in zip_longest(*members) for index in row if index is not None])
    images = test.gather(indices).cpu()
    return Starts(resize(images, min(THUMBNAIL, images.shape[-1])), mu[indices], labels[indices])
