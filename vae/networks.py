"""Encoders and decoders. Constructors take numbers; who wants a net from a Config asks `VAE`.

Shapes: B batch, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


def dense_layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers through `widths`, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers)


class MLPEncoder(nn.Module):
    """Images to the parameters of q(z|x): P -> hidden_dims -> (mu, logvar)."""

    def __init__(self, image_shape: tuple[int, int, int], hidden_dims: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.body = dense_layers([math.prod(image_shape), *hidden_dims])
        self.head = nn.Linear(hidden_dims[-1], 2 * latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or (B, P) in [0, 1] to mu (B, D) and logvar (B, D), float32."""
        mu, logvar = self.head(self.body(x.flatten(1))).float().chunk(2, dim=1)
        return mu, logvar


class MLPDecoder(nn.Module):
    """Latents to logits of the pixels: D -> hidden_dims -> P."""

    def __init__(self, latent_dim: int, hidden_dims: Sequence[int], image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.body = dense_layers([latent_dim, *hidden_dims])
        self.head = nn.Linear(hidden_dims[-1], math.prod(image_shape))

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, D) to logits (B, C, H, W)."""
        return self.head(self.body(z)).unflatten(1, self.image_shape)
