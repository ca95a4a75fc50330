"""What the report's latent explorer needs: the nets as steps that a page can compute, and points to start from.

Shapes: N images of the test split, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vae.data.splits import Splits
from vae.model.likelihoods import BernoulliMixture, ContinuousBernoulli, is_built_in
from vae.model.vae import VAE
from vae.report import drawing, latents, nets
from vae.report.latents import Starts
from vae.report.nets import blob
from vae.system.errors import plain

MAX_DRAWS, MAX_DRAWN = 256, 100_000  # draws from the prior, and numbers in all of them together
BANK_BYTES, GRID = 1_500_000, 32  # of images decoded beforehand, and images along each side of the map, at most


def describe(
    model: VAE, splits: Splits, mu: Tensor, *, kl_per_dim: Sequence[float], binarize: str = "none"
) -> dict[str, Any]:
    """Everything the explorer needs, as plain values for JSON.

    Args:
        model: in eval mode.
        splits: the data; the explorer shows the test split.
        mu: posterior means of the test split, (N, D).
        kl_per_dim: each latent's KL from N(0, 1) over the test split, nats per image, (D,).
        binarize: the value of `--binarize` in training.
    """
    mu = mu.float().cpu()
    starts = latents.choose_starts(splits.test, mu, classes=len(splits.class_names))
    draws = latents.prior_draws(model, max(1, min(MAX_DRAWS, MAX_DRAWN // model.latent_dim)))
    likelihood = model.likelihood
    is_mixture = isinstance(likelihood, BernoulliMixture)
    program, reason = nets.program(model.decoder, "decoder")
    if not is_built_in(likelihood):
        program, reason = None, f"the page doesn't know the likelihood {plain(likelihood.name)}"
    units = latents.active_latents(mu, kl_per_dim)
    latent_map = None
    if model.latent_dim == 2:
        latent_map = latents.map_of(mu, draws, splits.test)
    elif units and min(model.latent_dim, len(mu)) > 1 and (program or not model.num_classes):
        max_points = latents.MAX_POINTS if program else _max_images(model) // 2  # each with its decoded image
        latent_map = latents.map_of(mu, draws, splits.test, max_points=max_points)
    bank = None
    if not program:
        bank = _bank(model, mu[: latent_map["pictures"]["count"] if latent_map else 0], draws, starts)
    return {
        "shape": list(model.image_shape),
        "latents": model.latent_dim,
        "classes": [plain(name) for name in splits.class_names],
        "conditional": bool(model.num_classes),
        "mixture": {"components": likelihood.components, "patch": likelihood.patch} if is_mixture else None,
        "mean": likelihood.name if isinstance(likelihood, ContinuousBernoulli) else "sigmoid",
        "program": program,
        "bank": bank,
        "reason": reason,
        "units": units,
        "reach": torch.cat([mu, draws]).abs().max().item(),
        "prior": "standard" if model.has_closed_form_kl else "learned",
        "map": latent_map,
        "starts": {
            "images": blob(starts.images, "uint8"),
            "z": blob(starts.mu, "float32"),
            "labels": starts.labels.tolist(),
        },
        "draws": blob(draws, "float32"),
        "drawing": drawing.describe(model, splits, binarize=binarize, reason=reason),
    }


def _max_images(model: VAE) -> int:
    return BANK_BYTES // math.prod(model.image_shape)


@torch.no_grad()
def _bank(model: VAE, mu: Tensor, draws: Tensor, starts: Starts) -> dict[str, Any] | None:
    """Images decoded beforehand: a grid over the map of two latents, else of starts, draws and images on the map.

    `mu` (n, D) are the means on the map. Returns `None` if only few images fit.
    """
    classes = max(model.num_classes, 1)
    if model.latent_dim == 2:
        count = min(GRID, math.isqrt(_max_images(model) // classes))
        if count < GRID // 4:
            return None
        corner, side = latents.square(torch.cat([mu, draws]))
        steps = (torch.arange(count) + 0.5) / count * side
        z = torch.cartesian_prod(corner[0] + steps, corner[1] + steps).repeat(classes, 1)
        y = torch.arange(classes).repeat_interleave(count * count)
        draws = draws[:0]
    else:
        draws = draws[: max(0, _max_images(model) - len(starts.mu) - len(mu))]
        if len(draws) < classes:
            return None
        z = torch.cat([starts.mu, draws, mu])
        y = torch.cat([starts.labels, torch.arange(len(draws) + len(mu))]) % classes  # 0 where there are none
    device = next(model.parameters()).device
    chunks = zip(z.to(device).split(100), y.long().to(device).split(100), strict=True)
    images = [model.decode(*chunk).mul(255).round().to(torch.uint8).cpu() for chunk in chunks]
    blobs = {"images": blob(torch.cat(images), "uint8"), "z": blob(z, "float32"), "y": blob(y, "uint16")}
    return {**blobs, "draws": len(draws)}
