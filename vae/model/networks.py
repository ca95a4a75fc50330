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


class GatedBlock(nn.Module):
    """A linear layer times the sigmoid of another. Dauphin et al. 2017, eq. 1; the layer of Tomczak & Welling 2018."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, 2 * fan_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., fan_in) to (..., fan_out)."""
        h, gate = self.linear(x).chunk(2, dim=-1)
        return h * torch.sigmoid(gate)


class ResidualBlock(nn.Module):
    """h + outer(activation(inner(norm(h)))): He et al. 2016, the norm before the layers."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.activation = ACTIVATIONS[activation]()
        self.outer = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        return h + self.outer(self.activation(self.inner(self.norm(h))))


def dense_layers(widths: Sequence[int], activation: str, block: str = "plain") -> nn.Sequential:
    """Dense layers through `widths`.

    Args:
        widths: inputs, then the width of every layer.
        activation: a key of ACTIVATIONS; a gated layer has its gate in its place.
        block: `plain`, a linear layer and the activation; `gated`; or `residual`, a block each, with a linear layer
            before where the width changes, and the norm and activation that such a net ends with.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        if block == "gated":
            layers.append(GatedBlock(fan_in, fan_out))
        elif block == "residual":
            layers += [nn.Linear(fan_in, fan_out)] if fan_in != fan_out or not layers else []
            layers.append(ResidualBlock(fan_out, activation))
        else:
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    if block == "residual":
        layers += [nn.LayerNorm(widths[-1]), ACTIVATIONS[activation]()]
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
        block: str = "plain",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.body = dense_layers([math.prod(image_shape) + num_classes, *hidden_dims], activation, block)
        self.head = nn.Linear(hidden_dims[-1], 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or flat in [0, 1] to mu (B, D) and logvar (B, D), of the images' type."""
        x = x.flatten(1)
        h = self.body(x if y is None else torch.cat([x, y], dim=1))
        mu, logvar = self.head(h).to(x.dtype).chunk(2, dim=1)
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
        block: str = "plain",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.body = dense_layers([latent_dim + num_classes, *hidden_dims], activation, block)
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
        """Images (B, C, H, W) or flat in [0, 1] to mu (B, D) and logvar (B, D), of the images' type."""
        x = x.reshape(-1, *self.image_shape)  # (B, C, H, W)
        if y is not None:
            x = torch.cat([x, y[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)  # (B, C + K, H, W)
        h = self.body(x.contiguous(memory_format=CHANNELS_LAST))  # (B, base_channels, H / 4, W / 4)
        mu, logvar = self.head(h.flatten(1)).to(x.dtype).chunk(2, dim=1)
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
