"""What the report's latent explorer needs: the nets as steps that a page can compute, and points to start from.

Shapes: N images of the test split, D latent_dim.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vae.data.datasets import Splits
from vae.model.vae import VAE
from vae.report import drawing, latents, nets
from vae.report.latents import Starts
from vae.report.nets import blob
from vae.system.errors import plain

MAX_DRAWS, MAX_DRAWN = 256, 100_000  # draws from the prior, and numbers in all of them together
BANK_BYTES, GRID = 1_500_000, 32  # of images decoded beforehand, and images along each side of the map, at most


def describe(model: VAE, splits: Splits, mu: Tensor, *, binarize: str = "none") -> dict[str, Any]:
    """Everything the explorer needs, as plain values for JSON.

    Args:
        model: in eval mode.
        splits: the data; the explorer shows the test split.
        mu: posterior means of the test split, (N, D).
        binarize: the value of `--binarize` in training.
    """
    mu = mu.float().cpu()
    starts = latents.choose_starts(splits.test, mu, classes=len(splits.class_names))
    draws = latents.prior_draws(model, max(1, min(MAX_DRAWS, MAX_DRAWN // model.latent_dim)))
    program, reason = nets.program(model.decoder, "decoder")
    return {
        "shape": list(model.image_shape),
        "latents": model.latent_dim,
        "classes": [plain(name) for name in splits.class_names],
        "conditional": bool(model.num_classes),
        "mean": "continuous_bernoulli" if model.recon_loss == "continuous_bernoulli" else "sigmoid",
        "program": program,
        "bank": None if program else _bank(model, mu, draws, starts),
        "reason": reason,
        "units": latents.active_latents(mu, draws),
        "map": latents.map_of(mu, draws, splits.test.labels) if model.latent_dim == 2 else None,
        "starts": {
            "images": blob(starts.images, "uint8"),
            "z": blob(starts.mu, "float32"),
            "labels": starts.labels.tolist(),
        },
        "draws": blob(draws, "float32"),
        "drawing": drawing.describe(model, splits, binarize=binarize, reason=reason),
    }


@torch.no_grad()
def _bank(model: VAE, mu: Tensor, draws: Tensor, starts: Starts) -> dict[str, Any] | None:
    """Images decoded beforehand: a grid over the map of two latents, else of starts and draws; `None` if few fit."""
    max_images = BANK_BYTES // math.prod(model.image_shape)
    classes = max(model.num_classes, 1)
    if model.latent_dim == 2:
        count = min(GRID, math.isqrt(max_images // classes))
        if count < GRID // 4:
            return None
        corner, side = latents.square(mu, draws)
        steps = (torch.arange(count) + 0.5) / count * side
        z = torch.cartesian_prod(corner[0] + steps, corner[1] + steps).repeat(classes, 1)
        y = torch.arange(classes).repeat_interleave(count * count)
    else:
        draws = draws[: max(0, max_images - len(starts.mu))]
        if len(draws) < classes:
            return None
        z = torch.cat([starts.mu, draws])
        y = torch.cat([starts.labels, torch.arange(len(draws))]) % classes  # 0 throughout where there are none
    device = next(model.parameters()).device
    chunks = zip(z.to(device).split(100), y.long().to(device).split(100), strict=True)
    images = [model.decode(*chunk).mul(255).round().to(torch.uint8).cpu() for chunk in chunks]
    return {"images": blob(torch.cat(images), "uint8"), "z": blob(z, "float32"), "y": blob(y, "uint16")}
