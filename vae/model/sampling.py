"""Images from latents: draws from the prior, sweeps along single latents, and paths from one point to another.

Shapes: N draws, S steps, U units swept, Q quantiles, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vae.model.vae import VAE
from vae.system import memory
from vae.system.errors import UsageError

CHUNK = 1000  # images decoded at a time
TINY = 1e-6  # a shorter vector has no direction


class Samples(NamedTuple):
    """Draws from the prior, decoded."""

    images: Tensor  # (N, C, H, W) pixel means in [0, 1]
    labels: Tensor | None  # (N,) the classes that a conditional model was given
    z: Tensor  # (N, D)


class Interpolation(NamedTuple):
    """A path between two points of latent space, decoded."""

    images: Tensor  # (S, C, H, W) pixel means in [0, 1]
    z: Tensor  # (S, D)
    indices: tuple[int, ...]  # of the test images whose posterior means are the ends; empty for other ends
    labels: Tensor | None  # (1,) the class that a conditional model was given


class Traversal(NamedTuple):
    """Single latents swept over the prior's quantiles, decoded."""

    images: Tensor  # (U, Q, C, H, W) pixel means in [0, 1]
    units: list[int]  # from 0 on
    probabilities: Tensor  # (Q,) of the quantiles
    labels: Tensor | None  # (1,) the class that a conditional model was given


@torch.no_grad()
def sample(model: VAE, n: int, *, digits: Sequence[int] = (), temperature: float = 1.0, seed: int = 0) -> Samples:
    """Decode draws from the prior, the same ones on every device.

    Args:
        model: left in eval mode.
        n: number of draws.
        digits: classes that a conditional model takes in turn; all of them if empty.
        temperature: factor of the noise.
        seed: of the draws.
    """
    generator, device = torch.Generator().manual_seed(seed), next(model.parameters()).device
    labels = labels_in_turn(model, digits, n)
    z = model.prior.sample(n, generator=generator, device=device, temperature=temperature)
    return Samples(decode_all(model, z, labels), labels, z)


@torch.no_grad()
def decode_all(model: VAE, z: Tensor, y: Tensor | None = None) -> Tensor:
    """Pixel means of any number of latents z (N, D), (N, C, H, W) in [0, 1]; y is (N,), or (1,) for all of them."""
    model.eval()
    size = 2 * z.element_size() * len(z) * math.prod(model.image_shape)  # the chunks, then their concatenation
    memory.require(size, f"{len(z):,} images of {'×'.join(map(str, model.image_shape))}", z.device)
    if y is None:
        return torch.cat([model.decode(part) for part in z.split(CHUNK)])
    parts = zip(z.split(CHUNK), y.expand(len(z)).split(CHUNK), strict=True)
    return torch.cat([model.decode(*part) for part in parts])


def labels_in_turn(model: VAE, digits: Sequence[int], n: int) -> Tensor | None:
    """Labels (n,) that repeat `digits`, or all classes if that is empty; `None` for an unconditional model."""
    if not model.num_classes:
        return None
    classes = torch.tensor(tuple(digits) or range(model.num_classes), device=next(model.parameters()).device)
    return classes.repeat(n // len(classes) + 1)[:n]


def traverse(
    model: VAE, units: Sequence[int], probabilities: Tensor, *, base: Tensor | None = None, y: Tensor | None = None
) -> Tensor:
    """Sweep one latent at a time over the prior's quantiles and hold the others at `base`.

    Args:
        model: conditional or not.
        units: the latents to sweep.
        probabilities: (Q,) in (0, 1).
        base: (D,); `None` for the prior's median.
        y: (1,) class of a conditional model.

    Returns:
        Pixel means (U, Q, C, H, W) in [0, 1].
    """
    probabilities = probabilities.to(next(model.parameters()).device)
    quantiles = model.prior.quantiles(probabilities)  # (Q, D)
    base = model.prior.quantiles(probabilities.new_tensor([0.5]))[0] if base is None else base
    z = base.repeat(len(units), len(probabilities), 1)  # (U, Q, D)
    for row, unit in enumerate(units):
        z[row, :, unit] = quantiles[:, unit]
    return decode_all(model, z.flatten(0, 1), y).unflatten(0, z.shape[:2])


def path_between(z1: Tensor, z2: Tensor, *, steps: int, path: str = "linear") -> Tensor:
    """`steps` points from z1 to z2 (D,), both included: (S, D).

    On a `spherical` path (slerp, Shoemake 1985) the direction turns at a constant rate, while the length changes
    linearly. Between opposite ends it is a half circle towards the axis that is closest to perpendicular. If an end
    is the origin, or D is 1, it is straight.
    """
    if steps < 2:
        raise UsageError(f"steps {steps}: a path needs at least 2, its ends")
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device="cpu").unsqueeze(1)  # (S, 1)
    first, second = z1.detach().cpu().double(), z2.detach().cpu().double()
    lengths = first.norm(), second.norm()
    points = torch.lerp(first, second, t)
    if path == "spherical" and min(lengths) > TINY and len(z1) > 1:
        a, b = first / lengths[0], second / lengths[1]
        across = b - (a @ b) * a  # the part of b that is perpendicular to a
        angle = torch.atan2(across.norm(), a @ b)
        if across.norm() < TINY:  # parallel or opposite: any perpendicular direction will do
            across = torch.zeros_like(a)
            across[a.abs().argmin()] = 1
            across -= (a @ across) * a
        turned = torch.cos(t * angle) * a + torch.sin(t * angle) * across / across.norm()
        points = turned * torch.lerp(lengths[0], lengths[1], t)
        points[0], points[-1] = first, second
    return points.to(z1)


def interpolate(
    model: VAE, z1: Tensor, z2: Tensor, *, steps: int = 8, y: Tensor | None = None, path: str = "linear"
) -> Tensor:
    """Decode `steps` points of `path_between` z1 and z2, (D,) or (1, D), with the class y (1,) of a conditional model.

    Returns:
        Pixel means (S, C, H, W) in [0, 1].
    """
    return decode_all(model, path_between(z1.flatten(), z2.flatten(), steps=steps, path=path), y)
