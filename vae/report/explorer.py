"""What the report's latent explorer needs: the decoder as steps that a page can compute, and points to start from.

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
MAX_POINTS = 10_000  # on the map
MAX_STARTS, PER_CLASS, THUMBNAIL = 60, 4, 40  # test images to start from, at most of each class, pixels along a side
MAX_DRAWS, MAX_DRAWN = 256, 100_000  # draws from the prior, and numbers in all of them together
BANK_BYTES, GRID = 1_500_000, 32  # of images decoded beforehand, and images along each side of the map, at most
MARGIN = 0.06  # around the map, as a part of its side
Step = dict[str, Any]


class _UnknownLayerError(Exception):
    """A layer that the page can't compute."""


class Weights(NamedTuple):
    """A decoder's weights in the order of use: matrices in 16 bits, everything else in 32."""

    matrices: list[Tensor]  # int16, each row divided by its scale, which is among the vectors
    vectors: list[Tensor]

    def add_linear(self, layer: nn.Linear) -> None:
        """Add a layer; each row's largest weight becomes 32767, with a tenth of float16's error in the same space."""
        scale = layer.weight.abs().amax(1).clamp(min=1e-30) / 32767
        self.matrices.append((layer.weight / scale[:, None]).round().to(torch.int16))
        self.vectors.extend([scale, layer.bias])


class Starts(NamedTuple):
    """Test images to start from."""

    images: Tensor  # thumbnails, (n, C, h, w) uint8
    mu: Tensor  # posterior means, (n, D)
    labels: Tensor  # (n,)


def describe(model: VAE, splits: Splits, mu: Tensor) -> dict[str, Any]:
    """Everything the explorer needs, as plain values for JSON.

    Args:
        model: in eval mode.
        splits: the data; the explorer shows the test split.
        mu: posterior means of the test split, (N, D).
    """
    mu = mu.float().cpu()
    starts = _choose_starts(splits.test, mu, classes=len(splits.class_names))
    draws = _prior_draws(model, max(1, min(MAX_DRAWS, MAX_DRAWN // model.latent_dim)))
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
        "starts": {
            "images": blob(starts.images, "uint8"),
            "z": blob(starts.mu, "float32"),
            "labels": starts.labels.tolist(),
        },
        "draws": blob(draws, "float32"),
    }


def blob(values: Tensor, dtype: str) -> dict[str, Any]:
    """Numbers as base64 of little-endian `float32`, `int16`, `uint16` or `uint8`."""
    array = np.ascontiguousarray(values.detach().cpu().numpy().astype(np.dtype(dtype).newbyteorder("<")))
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


@torch.no_grad()
def _program(model: VAE) -> tuple[dict[str, Any] | None, str]:
    """The decoder as a page can run it; or `None` and the reason why it can't."""
    count = sum(parameter.numel() for parameter in model.decoder.parameters())
    if count > MAX_WEIGHTS:
        return None, f"the decoder has {count:,} weights, too many to run in a page (at most {MAX_WEIGHTS:,})"
    weights = Weights([], [])
    try:
        steps = _steps(model.decoder, weights)
    except _UnknownLayerError as error:
        return None, f"the decoder {error}, which takes a page too long to run while the pointer moves"
    matrices, vectors = (torch.cat([part.flatten() for part in parts]) for parts in weights)
    return {"steps": steps, "matrices": blob(matrices, "int16"), "vectors": blob(vectors, "float32")}, ""


def _steps(module: nn.Module, weights: Weights) -> list[Step]:
    """A dense decoder as a list of steps; their weights are added to `weights`."""

    def in_turn(*parts: nn.Module) -> list[Step]:
        return [step for part in parts for step in _steps(part, weights)]

    match module:
        case MLPDecoder() | nn.Sequential():
            return in_turn(*module.children())
        case nn.Linear():
            weights.add_linear(module)
            return [{"op": "linear", "in": module.in_features, "out": module.out_features}]
        case nn.LayerNorm():
            weights.vectors.extend([module.weight, module.bias])
            return [{"op": "norm", "width": math.prod(module.normalized_shape), "eps": module.eps}]
        case GatedBlock():
            return [*in_turn(module.linear), {"op": "gate"}]
        case ResidualBlock():
            return [{"op": "residual", "body": in_turn(module.norm, module.inner, module.activation, module.outer)}]
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
def _prior_draws(model: VAE, count: int) -> Tensor:
    """Draws from p(z) with a fixed seed, (count, D) on the CPU."""
    generator = torch.Generator().manual_seed(0)
    return model.prior.sample(count, generator=generator, device=next(model.parameters()).device).cpu()


def _units(mu: Tensor, draws: Tensor) -> list[dict[str, Any]]:
    """The active latents, by falling variance of the posterior mean, with the range to move them in."""
    variance, places = mu.var(0, correction=0), torch.cat([mu, draws])
    low, high = places.min(0).values, places.max(0).values
    return [
        {"index": i, "variance": variance[i].item(), "low": low[i].item(), "high": high[i].item()}
        for i in variance.argsort(descending=True).tolist()
        if variance[i] > ACTIVE
    ]


def _map(mu: Tensor, draws: Tensor, labels: Tensor) -> dict[str, Any]:
    """The map of two latents: its square, and at most MAX_POINTS posterior means of test images within it."""
    corner, side = _square(mu, draws)
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


def _square(mu: Tensor, draws: Tensor) -> tuple[Tensor, float]:
    """Lower left corner (2,) and side of a square around means and draws, except for a few far out."""
    places = torch.cat([mu[:MAX_POINTS], draws])
    low, high = (torch.quantile(places, level, dim=0) for level in (0.001, 0.999))
    half = (high - low).max() / 2 * (1 + 2 * MARGIN)
    return (low + high) / 2 - half, 2 * half.item()


def _choose_starts(test: Split, mu: Tensor, *, classes: int) -> Starts:
    """The first test images of each class, a class after the other."""
    labels = test.labels.cpu()
    count = max(1, min(PER_CLASS, MAX_STARTS // classes)) if classes else PER_CLASS * 5
    members = [(labels == label).nonzero().flatten()[:count].tolist() for label in labels.unique()[:MAX_STARTS]]
    indices = torch.tensor([index for row in zip_longest(*members) for index in row if index is not None])
    images = test.images[indices.to(test.images.device)].cpu()
    return Starts(resize(images, min(THUMBNAIL, images.shape[-1])), mu[indices], labels[indices])


@torch.no_grad()
def _bank(model: VAE, mu: Tensor, draws: Tensor, starts: Starts) -> dict[str, Any] | None:
    """Images decoded beforehand: a grid over the map of two latents, else of starts and draws; `None` if few fit."""
    max_images = BANK_BYTES // math.prod(model.image_shape)
    classes = max(model.num_classes, 1)
    if model.latent_dim == 2:
        count = min(GRID, math.isqrt(max_images // classes))
        if count < GRID // 4:
            return None
        corner, side = _square(mu, draws)
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
