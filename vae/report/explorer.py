"""What the report's latent explorer is made of: the decoder as steps that a page can take, and points to start from.

Shapes: N images of the test split, D latent_dim, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import base64
import math
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vae.data.datasets import Split, Splits
from vae.data.pixels import resize
from vae.evaluation.elbo import ACTIVE
from vae.model.networks import ConvDecoder, GatedBlock, MLPDecoder, ResidualBlock
from vae.model.vae import VAE
from vae.system.errors import plain

MAX_WEIGHTS = 8_000_000  # of a decoder that runs in the page: 16 MB, and some 10 ms of an ordinary core
MAX_POINTS = 10_000
MAX_STARTS, PER_CLASS, THUMBNAIL = 60, 4, 40  # test images to start from, of each class at most, pixels of each
DRAWS, MAX_DRAWN = 256, 100_000  # from the prior; numbers in all of them
BANK_BYTES, GRID = 1_500_000, 32  # of images decoded beforehand; of these along each side of the plane, at most
MARGIN = 0.06  # around the map
Step = dict[str, Any]


class _UnknownLayerError(Exception):
    """A layer that the page can't compute."""


class Weights(NamedTuple):
    """A decoder's weights in the order of use: matrices in 16 bits, everything else in 32."""

    matrices: list[Tensor]  # int16: each row divided by its scale, which is among the vectors
    vectors: list[Tensor]

    def add_linear(self, layer: nn.Linear) -> None:
        """A row's largest weight becomes 32767: over a float16, that is a tenth of the error in the same space."""
        scale = layer.weight.abs().amax(1).clamp(min=1e-30) / 32767
        self.matrices.append((layer.weight / scale[:, None]).round().to(torch.int16))
        self.vectors.extend([scale, layer.bias])


def describe(model: VAE, splits: Splits, mu: Tensor) -> dict[str, Any]:
    """Everything the explorer needs, as plain values for JSON.

    Args:
        model: in eval mode.
        splits: the data; its test split is shown.
        mu: posterior means of the test split, (N, D).
    """
    mu = mu.float().cpu()
    starts = _starts(splits.test, mu, classes=len(splits.class_names))
    draws = prior_draws(model, max(1, min(DRAWS, MAX_DRAWN // model.latent_dim)))
    program, reason = _program(model)
    return {
        "shape": list(model.image_shape),
        "latents": model.latent_dim,
        "classes": [plain(name) for name in splits.class_names],
        "conditional": bool(model.num_classes),
        "mean": "continuous_bernoulli" if model.recon_loss == "continuous_bernoulli" else "sigmoid",
        "program": program,
        "bank": None if program else _bank(model, mu, draws, starts),
        "reason": reason,
        "units": _units(mu, draws),
        "map": _map(mu, draws, splits.test.labels) if model.latent_dim == 2 else None,
        "starts": _packed_starts(starts),
        "draws": blob(draws, "float32"),
    }


def blob(values: Tensor, dtype: str) -> dict[str, Any]:
    """Numbers as base64 of little-endian `float32`, `int16`, `uint16` or `uint8`."""
    array = np.ascontiguousarray(values.detach().cpu().numpy().astype(np.dtype(dtype).newbyteorder("<")))
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


@torch.no_grad()
def _program(model: VAE) -> tuple[dict[str, Any] | None, str]:
    """The decoder as a page can run it; or `None`, and why it can't."""
    count = sum(parameter.numel() for parameter in model.decoder.parameters())
    if count > MAX_WEIGHTS:
        return None, f"the decoder has {count:,} weights, too many to run in a page (at most {MAX_WEIGHTS:,})"
    weights = Weights([], [])
    try:
        steps = steps_of(model.decoder, weights)
    except _UnknownLayerError as error:
        return None, f"the decoder {error}, which takes a page too long to run while the pointer moves"
    matrices, vectors = (torch.cat([part.flatten() for part in parts]) for parts in weights)
    return {"steps": steps, "matrices": blob(matrices, "int16"), "vectors": blob(vectors, "float32")}, ""


def steps_of(module: nn.Module, weights: Weights) -> list[Step]:
    """A dense decoder as a list of steps; what they multiply by is added to `weights`."""

    def several(*parts: nn.Module) -> list[Step]:
        return [step for part in parts for step in steps_of(part, weights)]

    match module:
        case MLPDecoder() | nn.Sequential():
            return several(*module.children())
        case nn.Linear():
            weights.add_linear(module)
            return [{"op": "linear", "in": module.in_features, "out": module.out_features}]
        case nn.LayerNorm():
            weights.vectors.extend([module.weight, module.bias])
            return [{"op": "norm", "width": math.prod(module.normalized_shape), "eps": module.eps}]
        case GatedBlock():
            return [*several(module.linear), {"op": "gate"}]
        case ResidualBlock():
            return [{"op": "residual", "body": several(module.norm, module.inner, module.activation, module.outer)}]
        case nn.LeakyReLU():
            return [{"op": "leaky_relu", "slope": module.negative_slope}]
        case nn.ELU():
            return [{"op": "elu", "alpha": module.alpha}]
        case nn.ReLU() | nn.SiLU() | nn.GELU() | nn.Tanh():
            return [{"op": type(module).__name__.lower()}]
        case ConvDecoder():
            raise _UnknownLayerError("is convolutional")
    raise _UnknownLayerError(f"has {type(module).__name__} layers")


@torch.no_grad()
def prior_draws(model: VAE, count: int) -> Tensor:
    """Draws from p(z) with a seed of their own, (count, D) on the CPU."""
    generator = torch.Generator().manual_seed(0)
    return model.prior.sample(count, generator=generator, device=next(model.parameters()).device).cpu()


def _units(mu: Tensor, draws: Tensor) -> list[dict[str, Any]]:
    """The active latents, those whose posterior mean varies most first, with the range to move them in."""
    variance, places = mu.var(0, correction=0), torch.cat([mu, draws])
    low, high = places.min(0).values, places.max(0).values
    return [
        {"index": i, "variance": variance[i].item(), "low": low[i].item(), "high": high[i].item()}
        for i in variance.argsort(descending=True).tolist()
        if variance[i] > ACTIVE
    ]


def _map(mu: Tensor, draws: Tensor, labels: Tensor) -> dict[str, Any]:
    """The plane of two latents: test images' posterior means (at most MAX_POINTS) and the square that is shown."""
    corner, side = _square(mu, draws)
    inside = ((mu[:MAX_POINTS] > corner) & (mu[:MAX_POINTS] < corner + side)).all(1)
    scaled = ((mu[:MAX_POINTS][inside] - corner) / side).mul(65535).round()
    return {
        "left": corner[0].item(),
        "bottom": corner[1].item(),
        "side": side,
        "points": blob(scaled, "uint16"),
        "labels": blob(labels[:MAX_POINTS][inside.to(labels.device)], "uint16"),
        "outside": len(inside) - int(inside.sum()),
        "total": len(mu),
    }


def _square(mu: Tensor, draws: Tensor) -> tuple[Tensor, float]:
    """Lower left corner (2,) and side of the square that holds means and draws, but for a few of them far out."""
    places = torch.cat([mu[:MAX_POINTS], draws])
    low, high = (torch.quantile(places, level, dim=0) for level in (0.001, 0.999))
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
    return {"images": blob(images, "uint8"), "z": blob(mu, "float32"), "labels": labels.tolist()}


@torch.no_grad()
def _bank(model: VAE, mu: Tensor, draws: Tensor, starts: tuple[Tensor, Tensor, Tensor]) -> dict[str, Any] | None:
    """Images decoded beforehand: a grid over the plane of two latents, else starts and draws; `None` if too few fit."""
    fits = BANK_BYTES // math.prod(model.image_shape)
    classes = max(model.num_classes, 1)
    if model.latent_dim == 2:
        count = min(GRID, math.isqrt(fits // classes))
        corner, side = _square(mu, draws)
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
    return {"images": blob(torch.cat(images), "uint8"), "z": blob(z, "float32"), "y": blob(y, "uint16")}
