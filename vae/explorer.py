"""What the report's latent explorer is made of: the decoder as steps that a page can take, and points to start from.

Shapes: N images of the test split, D latent_dim, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import base64
import math
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae.data import Split, Splits
from vae.evaluate import ACTIVE
from vae.markup import plain
from vae.model import VAE
from vae.pixels import resize

MAX_WEIGHTS = 8_000_000  # of a decoder that runs in the page: 16 MB, and some 10 ms of an ordinary core
MAX_POINTS = 10_000
MAX_STARTS, PER_CLASS, THUMBNAIL = 60, 4, 40  # test images to start from, of each class at most, pixels of each
DRAWS = 256  # from the prior
BANK_BYTES, GRID = 1_500_000, 32  # of images decoded beforehand; of these along each side of the plane, at most
MARGIN = 0.06  # around the map
Step = dict[str, Any]
ACTIVATIONS = {"ReLU": "relu", "SiLU": "silu", "GELU": "gelu", "Tanh": "tanh"}


class _UnknownLayerError(Exception):
    """A layer that the page can't compute."""


def describe(model: VAE, splits: Splits, mu: Tensor) -> dict[str, Any]:
    """Everything the explorer needs, as plain values for JSON.

    Args:
        model: in eval mode.
        splits: the data; its test split is shown.
        mu: posterior means of the test split, (N, D).
    """
    mu = mu.float().cpu()
    starts = _starts(splits.test, mu, classes=len(splits.class_names))
    draws = prior_draws(model, max(1, min(DRAWS, 200_000 // model.latent_dim)))
    weights: list[Tensor] = []
    steps, bank, reason = [], None, why_not(model)
    if reason:
        bank = _bank(model, mu, draws, starts)
    else:
        steps = steps_of(model.decoder, weights)
    return {
        "shape": list(model.image_shape),
        "latents": model.latent_dim,
        "classes": [plain(name) for name in splits.class_names],
        "conditional": bool(model.num_classes),
        "mean": "continuous_bernoulli" if model.recon_loss == "continuous_bernoulli" else "sigmoid",
        "steps": steps,
        "weights": blob(torch.cat([weight.detach().flatten() for weight in weights]), "float16") if weights else None,
        "bank": bank,
        "reason": reason,
        "units": _units(mu),
        "map": _map(mu, splits.test.labels) if model.latent_dim == 2 else None,
        "starts": _packed_starts(starts),
        "draws": blob(draws, "float16"),
    }


def blob(values: Tensor, dtype: str) -> dict[str, Any]:
    """Numbers as base64 of little-endian `float16`, `uint16` or `uint8`."""
    array = np.ascontiguousarray(values.cpu().numpy().astype(np.dtype(dtype).newbyteorder("<")))
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def why_not(model: VAE) -> str:
    """Why a page can't run this decoder; empty where it can."""
    weights: list[Tensor] = []
    try:
        steps_of(model.decoder, weights)
    except _UnknownLayerError as error:
        return f"the decoder {error}, which takes a page too long to run while the pointer moves"
    count = sum(weight.numel() for weight in weights)
    if count > MAX_WEIGHTS:
        return f"the decoder has {count:,} weights, too many to run in a page (at most {MAX_WEIGHTS:,})"
    largest = max(weight.detach().abs().max().item() for weight in weights)
    return "" if largest < torch.finfo(torch.float16).max else f"a weight of {largest:g} is too large for 16 bits"


def steps_of(module: nn.Module, weights: list[Tensor]) -> list[Step]:
    """A dense decoder as a list of steps; their weights are appended to `weights` in the order of use."""
    kind, parts = type(module).__name__, dict(module.named_children())

    def several(*names: str) -> list[Step]:
        return [step for name in names for step in steps_of(parts[name], weights)]

    if isinstance(module, nn.Linear):
        weights += [module.weight, module.bias]
        return [{"op": "linear", "in": module.in_features, "out": module.out_features}]
    if isinstance(module, nn.LayerNorm):
        weights += [module.weight, module.bias]
        return [{"op": "norm", "width": math.prod(module.normalized_shape), "eps": module.eps}]
    if isinstance(module, nn.LeakyReLU):
        return [{"op": "leaky_relu", "slope": module.negative_slope}]
    if isinstance(module, nn.ELU):
        return [{"op": "elu", "alpha": module.alpha}]
    if kind in ACTIVATIONS:
        return [{"op": ACTIVATIONS[kind]}]
    if kind == "GatedBlock":
        return [*several("linear"), {"op": "gate"}]
    if kind == "ResidualBlock":
        return [{"op": "residual", "body": several("norm", "inner", "activation", "outer")}]
    if kind in ("MLPDecoder", "Sequential"):
        return several(*parts)
    raise _UnknownLayerError("is convolutional" if kind == "ConvDecoder" else f"has {kind} layers")


@torch.no_grad()
def prior_draws(model: VAE, count: int) -> Tensor:
    """Draws from p(z) with a seed of their own, (count, D) on the CPU."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, model.latent_dim, generator=generator)


def _units(mu: Tensor) -> list[dict[str, Any]]:
    """The active latents, those whose posterior mean varies most first, with the range to move them in."""
    variance = mu.var(0, correction=0)
    order = variance.argsort(descending=True).tolist()
    low, high = mu.min(0).values.clamp(max=-3), mu.max(0).values.clamp(min=3)
    return [
        {"index": i, "variance": variance[i].item(), "low": low[i].item(), "high": high[i].item()}
        for i in order
        if variance[i] > ACTIVE
    ]


def _map(mu: Tensor, labels: Tensor) -> dict[str, Any]:
    """The plane of two latents: test images' posterior means (at most MAX_POINTS) and the square that is shown."""
    corner, side = _square(mu)
    scaled = ((mu[:MAX_POINTS] - corner) / side).clamp(0, 1).mul(65535).round()
    return {
        "left": corner[0].item(),
        "bottom": corner[1].item(),
        "side": side,
        "points": blob(scaled, "uint16"),
        "labels": blob(labels[:MAX_POINTS], "uint16"),
        "total": len(mu),
    }


def _square(mu: Tensor) -> tuple[Tensor, float]:
    """Lower left corner (2,) and side of the square that holds the means (N, D=2) but for a few far out."""
    low, high = (torch.quantile(mu[:MAX_POINTS], level, dim=0) for level in (0.001, 0.999))
    low, high = low.clamp(max=-2.5), high.clamp(min=2.5)
    half = (high - low).max() / 2 * (1 + 2 * MARGIN)
    return (low + high) / 2 - half, 2 * half.item()


def _starts(test: Split, mu: Tensor, *, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Test images to start from, some of each class: thumbnails (n, C, h, w) uint8, means (n, D), labels (n,)."""
    labels = test.labels.cpu()
    each = max(1, min(PER_CLASS, MAX_STARTS // max(classes, 1))) if classes else PER_CLASS * 5
    members = [(labels == label).nonzero().flatten()[:each].tolist() for label in labels.unique()[:MAX_STARTS]]
    chosen = torch.tensor([index for row in zip_longest(*members) for index in row if index is not None])
    images = test.images[chosen.to(test.images.device)].cpu()
    return resize(images, min(THUMBNAIL, images.shape[-1])), mu[chosen], labels[chosen]


def _packed_starts(starts: tuple[Tensor, Tensor, Tensor]) -> dict[str, Any]:
    images, mu, labels = starts
    return {"images": blob(images, "uint8"), "z": blob(mu, "float16"), "labels": labels.tolist()}


@torch.no_grad()
def _bank(model: VAE, mu: Tensor, draws: Tensor, starts: tuple[Tensor, Tensor, Tensor]) -> dict[str, Any] | None:
    """Images decoded beforehand: a grid over the plane of two latents, else starts and draws; `None` if too few fit."""
    fits = BANK_BYTES // math.prod(model.image_shape)
    classes = max(model.num_classes, 1)
    if model.latent_dim == 2:
        count = min(GRID, math.isqrt(fits // classes))
        corner, side = _square(mu)
        steps = (torch.arange(count) + 0.5) / count * side
        z = torch.cartesian_prod(corner[0] + steps, corner[1] + steps).repeat(classes, 1)
        y = torch.arange(classes).repeat_interleave(count * count)
        enough = count >= GRID // 4
    else:
        draws = draws[: max(0, fits - len(starts[1]))]
        z = torch.cat([starts[1], draws])
        y = torch.cat([starts[2], torch.arange(len(draws)) % classes]) if model.num_classes else torch.zeros(len(z))
        enough = len(draws) >= classes
    if not enough:
        return None
    device = next(model.parameters()).device
    chunks = zip(z.to(device).split(100), y.long().to(device).split(100), strict=True)
    images = [model.decode(*chunk).mul(255).round().to(torch.uint8).cpu() for chunk in chunks]
    return {"images": blob(torch.cat(images), "uint8"), "z": blob(z, "float16"), "y": blob(y, "uint16")}
