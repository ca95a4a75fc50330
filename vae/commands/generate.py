"""Images from the prior, for several commands: samples, and sweeps along single latents.

Shapes: N images, C channels, H height, W width, D latent_dim, U units swept, Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae.model.vae import VAE
from vae.runs.trained import Trained
from vae.system import memory
from vae.system.errors import UsageError

CHUNK = 1000  # images decoded at a time


@torch.no_grad()
def draw_latents(model: VAE, count: int, *, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """`count` draws from the prior, (N, D), the same ones on every device; `temperature` scales their spread."""
    generator = torch.Generator().manual_seed(seed)
    return model.prior.sample(count, generator=generator, device=_device(model), temperature=temperature)


@torch.no_grad()
def decode_all(model: VAE, z: Tensor, y: Tensor | None = None) -> Tensor:
    """Pixel means of any number of latents z (N, D), (N, C, H, W) in [0, 1], on the model's device."""
    model.eval()
    size = 2 * z.element_size() * len(z) * math.prod(model.image_shape)  # the chunks, then their concatenation
    memory.require(size, f"{len(z):,} images of {'×'.join(map(str, model.image_shape))}", z.device)
    if y is None:
        return torch.cat([model.decode(part) for part in z.split(CHUNK)])
    return torch.cat([model.decode(*part) for part in zip(z.split(CHUNK), y.split(CHUNK), strict=True)])


def sample(
    model: VAE, count: int = 64, *, digits: Sequence[int] = (), temperature: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Decode `count` draws from the prior, of these classes in turn (of all, if empty) for a conditional model.

    Returns:
        Pixel means (N, C, H, W) in [0, 1], and the classes (N,) of a conditional model.
    """
    labels = classes_in_turn(model, digits, count)
    return decode_all(model, draw_latents(model, count, temperature=temperature, seed=seed), labels), labels


def classes_in_turn(model: VAE, digits: Sequence[int], count: int) -> Tensor | None:
    """Labels (N,) that repeat `digits`, or all classes if that is empty; `None` for an unconditional model."""
    check_classes(digits, model.num_classes)
    if not model.num_classes:
        return None
    classes = torch.tensor(tuple(digits) or range(model.num_classes), device=_device(model))
    return classes.repeat(count // len(classes) + 1)[:count]


def check_classes(digits: Sequence[int], count: int) -> None:
    """Refuse a class that is not among the `count` classes."""
    for digit in digits:
        if not 0 <= digit < count:
            classes = f"the classes are 0 to {count - 1}" if count else "there are no classes"
            raise UsageError(f"--digit {digit}: {classes}")


def class_list(trained: Trained, labels: Tensor | None) -> str:
    """The names of the classes among these labels, for a title: `3, 8`."""
    return "" if labels is None else ", ".join(trained.class_names[index] for index in labels.unique().tolist())


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
    probabilities = probabilities.to(_device(model))
    quantiles = model.prior.quantiles(probabilities)  # (Q, D)
    base = model.prior.quantiles(probabilities.new_tensor([0.5]))[0] if base is None else base
    z = base.repeat(len(units), len(probabilities), 1)  # (U, Q, D)
    for row, unit in enumerate(units):
        z[row, :, unit] = quantiles[:, unit]
    flat = z.flatten(0, 1)
    return decode_all(model, flat, None if y is None else y.expand(len(flat))).unflatten(0, z.shape[:2])


def _device(model: VAE) -> torch.device:
    return next(model.parameters()).device
