"""Images through a model and back, each with its ELBO.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vae.evaluation.elbo import score_images
from vae.model.losses import Terms
from vae.model.vae import VAE

if TYPE_CHECKING:
    from vae.data.own_images import OwnImage

ELBO_SAMPLES = 64  # draws from q(z|x) for the ELBO of an image
GUESS_SAMPLES = 16  # the same, for each class that an image may have


class Reconstructed(NamedTuple):
    """Images, what they come back as, and the terms of each one's ELBO, means over ELBO_SAMPLES posterior samples."""

    x: Tensor  # (N, C, H, W) in [0, 1], what was encoded
    means: Tensor  # (N, C, H, W) in [0, 1], pixel means decoded from the posterior means
    recon: Tensor  # (N,) nats, float64
    kl: Tensor  # (N,) nats, float64
    labels: Tensor | None  # (N,) the classes that a conditional model was given
    pictures: tuple[OwnImage, ...] = ()  # of pictures and their files: each before and after its preparation

    @property
    def elbo(self) -> Tensor:
        """(N,) nats; larger is better."""
        return Terms(self.recon, self.kl).elbo


def reconstruct(model: VAE, x: Tensor, y: Tensor | None = None) -> Reconstructed:
    """Encode and decode images x (N, C, H, W) in [0, 1], on the model's device, and score each.

    Without labels y (N,), a conditional model is given each image's likeliest class.
    """
    if not model.num_classes:
        y = None
    elif y is None:
        y = likeliest_classes(model, x)
    recon, kl = score_images(model, x, y, samples=ELBO_SAMPLES)
    return Reconstructed(x, model.reconstruct(x, y), recon, kl, y)


def likeliest_classes(model: VAE, x: Tensor) -> Tensor:
    """The class (N,) of a conditional model with which each image's ELBO is largest."""
    classes = [torch.full((len(x),), label, device=x.device) for label in range(model.num_classes)]
    bounds = [score_images(model, x, y, samples=GUESS_SAMPLES).elbo for y in classes]
    return torch.stack(bounds).argmax(0).to(x.device)
