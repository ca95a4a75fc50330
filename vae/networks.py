"""Encoders and decoders. Constructors take numbers; `build.py` reads them from a Config.

A class y, where a net is conditional, is a one-hot vector (B, K): K extra inputs of a dense layer, K constant extra
channels of a convolution.

Shapes: B batch, C channels, H height, W width, D latent_dim, K num_classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


CHANNELS_LAST = torch.channels_last  # the layout that convolutions are fastest in: a third of the time on a CPU


def dense_layers(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers through `widths`, each followed by the activation."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class MLPEncoder(nn.Module):
    """Images to the parameters of q(z|x): pixels -> hidden_dims -> (mu, logvar)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        hidden_dims: Sequence[int],
        latent_dim: int,
        *,
        activation: str = "relu",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.body = dense_layers([math.prod(image_shape) + num_classes, *hidden_dims], activation)
        self.head = nn.Linear(hidden_dims[-1], 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or flat in [0, 1] to mu (B, D) and logvar (B, D), float32."""
        x = x.flatten(1)
        h = self.body(x if y is None else torch.cat([x, y], dim=1))
        mu, logvar = self.head(h).float().chunk(2, dim=1)
        return mu, logvar


class MLPDecoder(nn.Module):
    """Latents to logits of the pixels: D -> hidden_dims -> pixels."""

    def __init__(
        self,
        latent_dim: int,
        hidden_dims: Sequence[int],
        image_shape: tuple[int, int, int],
        *,
        activation: str = "relu",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.body = dense_layers([latent_dim + num_classes, *hidden_dims], activation)
        self.head = nn.Linear(hidden_dims[-1], math.prod(image_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Latents (B, D) to logits (B, C, H, W)."""
        h = self.body(z if y is None else torch.cat([z, y], dim=1))
        return self.head(h).unflatten(1, self.image_shape)


class ConvEncoder(nn.Module):
    """Four 3×3 convolutions, the two middle ones of stride 2, then a linear layer to (mu, logvar)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        base_channels: int,
        latent_dim: int,
        *,
        activation: str = "leaky_relu",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for fan_in, stride in ((channels + num_classes, 1), (base_channels, 2), (base_channels, 2), (base_channels, 1)):
            layers += [nn.Conv2d(fan_in, base_channels, 3, stride, padding=1), ACTIVATIONS[activation]()]
        self.body = nn.Sequential(*layers).to(memory_format=CHANNELS_LAST)
        self.head = nn.Linear(base_channels * (height // 4) * (width // 4), 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or flat in [0, 1] to mu (B, D) and logvar (B, D), float32."""
        x = x.reshape(-1, *self.image_shape)  # (B, C, H, W)
        if y is not None:
            x = torch.cat([x, y[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)  # (B, C + K, H, W)
        h = self.body(x.contiguous(memory_format=CHANNELS_LAST))  # (B, base_channels, H / 4, W / 4)
        mu, logvar = self.head(h.flatten(1)).float().chunk(2, dim=1)
        return mu, logvar


class ConvDecoder(nn.Module):
    """A linear layer, then four transposed 3×3 convolutions that mirror the encoder's."""

    def __init__(
        self,
        latent_dim: int,
        base_channels: int,
        image_shape: tuple[int, int, int],
        *,
        activation: str = "leaky_relu",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.coarse_shape = (base_channels, height // 4, width // 4)
        self.stem = nn.Linear(latent_dim + num_classes, math.prod(self.coarse_shape))
        layers: list[nn.Module] = [ACTIVATIONS[activation]()]
        for stride in (1, 2, 2):
            layer = nn.ConvTranspose2d(base_channels, base_channels, 3, stride, padding=1, output_padding=stride - 1)
            layers += [layer, ACTIVATIONS[activation]()]
        layers.append(nn.ConvTranspose2d(base_channels, channels, 3, padding=1))
        self.body = nn.Sequential(*layers).to(memory_format=CHANNELS_LAST)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Latents (B, D) to logits (B, C, H, W)."""
        h = self.stem(z if y is None else torch.cat([z, y], dim=1))
        return self.body(h.unflatten(1, self.coarse_shape).contiguous(memory_format=CHANNELS_LAST))
