"""Encoders and decoders: dense and convolutional nets.

A conditional net also takes the class y as a one-hot vector (B, K): K extra inputs of a dense layer, K constant extra
channels of a convolution.

Shapes: B batch, C channels, H height, W width, D latent_dim, K num_classes, F base_channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.model.linear import Linear
from vae.model.patches import ImageShape

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}
CHANNELS_LAST = torch.channels_last  # convolutions in this memory layout take a third of the time on a CPU
Activation = Callable[[], nn.Module]  # makes one


def activation_maker(name: str, negative_slope: float) -> Activation:
    """What makes the activation that a key of ACTIVATIONS names; only leaky_relu has a slope."""
    return partial(nn.LeakyReLU, negative_slope) if name == "leaky_relu" else ACTIVATIONS[name]


class GatedBlock(nn.Module):
    """A linear layer times the sigmoid of another. Dauphin et al. 2017, eq. 1; used by Tomczak & Welling 2018."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = Linear(fan_in, 2 * fan_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., fan_in) to (..., fan_out)."""
        h, gate = self.linear(x).chunk(2, dim=-1)
        return h * torch.sigmoid(gate)


class ResidualBlock(nn.Module):
    """h + outer(activation(inner(norm(h)))): a residual block with the norm first. He et al. 2016."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = Linear(width, width)
        self.activation = activation()
        self.outer = Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        return h + self.outer(self.activation(self.inner(self.norm(h))))


def dense_layers(widths: Sequence[int], activation: Activation, block: str = "plain") -> nn.Sequential:
    """Build dense layers of the given widths.

    Args:
        widths: the number of inputs, then the width of every layer.
        activation: makes one; gated layers don't use it.
        block: `plain` is a linear layer and the activation; `gated` is a GatedBlock; `residual` is a ResidualBlock,
            preceded by a linear layer where the width changes, with a norm and the activation after the last one.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        if block == "gated":
            layers.append(GatedBlock(fan_in, fan_out))
        elif block == "residual":
            if fan_in != fan_out or not layers:
                layers.append(Linear(fan_in, fan_out))
            layers.append(ResidualBlock(fan_out, activation))
        else:
            layers += [Linear(fan_in, fan_out), activation()]
    if block == "residual":
        layers += [nn.LayerNorm(widths[-1]), activation()]
    return nn.Sequential(*layers)


def with_class(h: Tensor, y: Tensor | None) -> Tensor:
    """Inputs of a dense layer, followed by the class if there is one."""
    return h if y is None else torch.cat([h, y], dim=-1)


class MLPEncoder(nn.Module):
    """Dense layers from the pixels through `hidden_dims` to mu and logvar of q(z|x)."""

    def __init__(
        self,
        image_shape: ImageShape,
        hidden_dims: Sequence[int],
        latent_dim: int,
        *,
        activation: Activation,
        block: str,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.body = dense_layers([math.prod(image_shape) + num_classes, *hidden_dims], activation, block)
        self.head = Linear(hidden_dims[-1], 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], (B, C, H, W) or flat, to mu and logvar, (B, D) each, of the images' dtype."""
        h = self.body(with_class(x.flatten(1), y))
        mu, logvar = self.head(h).to(x.dtype).chunk(2, dim=1)
        return mu, logvar


class MLPDecoder(nn.Module):
    """Dense layers from the latents through `hidden_dims` to an output of any shape, such as the pixels' logits."""

    def __init__(
        self,
        latent_dim: int,
        hidden_dims: Sequence[int],
        output_shape: Sequence[int],
        *,
        activation: Activation,
        block: str,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.output_shape = tuple(output_shape)
        self.body = dense_layers([latent_dim + num_classes, *hidden_dims], activation, block)
        self.head = Linear(hidden_dims[-1], math.prod(output_shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Latents (B, D) to what the likelihood takes, such as logits (B, C, H, W)."""
        return self.head(self.body(with_class(z, y))).unflatten(1, self.output_shape)

    def set_bias(self, logits: Tensor) -> None:
        """Start from this output, of `output_shape`."""
        self.head.bias.copy_(logits.flatten())


def _trains_on_cpu(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> bool:
    """Whether gradients of the layer's weights will be computed by a CPU."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and layer.weight.requires_grad


def _add_bias(h: Tensor, bias: Tensor | None) -> Tensor:
    """Add a bias (C,) to h (B, C, H, W), its gradient summed over pixels before images, both along the memory."""
    assert bias is not None
    return h + bias.to(h.dtype)[:, None, None].expand(len(h), -1, 1, 1)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` in a form that a CPU trains faster: oneDNN is slow in summing the bias's gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, F, H', W')."""
        if not _trains_on_cpu(self, x):
            return super().forward(x)
        weight = self.weight
        if x.shape[1] == 1:  # one channel looks the same in both memory layouts, and the compiler takes the slow one
            x, weight = F.pad(x, (0, 0, 0, 0, 0, 1)), F.pad(weight, (0, 0, 0, 0, 0, 1))
        return _add_bias(F.conv2d(x, weight, None, self.stride, self.padding), self.bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` in a form that a CPU trains faster, as `Conv2d` is."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the layer's output size is never given
        """(B, C, H, W) to (B, F, H', W')."""
        if not _trains_on_cpu(self, x):
            return super().forward(x)
        assert isinstance(self.padding, tuple)
        h = F.conv_transpose2d(x, self.weight, None, self.stride, self.padding, self.output_padding)
        return _add_bias(h, self.bias)


class ConvEncoder(nn.Module):
    """Four 3×3 convolutions, the middle two of stride 2, and a linear layer to mu and logvar of q(z|x)."""

    def __init__(
        self, image_shape: ImageShape, base_channels: int, latent_dim: int, *, activation: Activation, num_classes: int
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for fan_in, stride in ((channels + num_classes, 1), (base_channels, 2), (base_channels, 2), (base_channels, 1)):
            layers += [Conv2d(fan_in, base_channels, 3, stride, padding=1), activation()]
        self.body = nn.Sequential(*layers).to(memory_format=CHANNELS_LAST)
        self.head = Linear(base_channels * (height // 4) * (width // 4), 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], (B, C, H, W) or flat, to mu and logvar, (B, D) each, of the images' dtype."""
        x = x.reshape(-1, *self.image_shape)
        if y is not None:
            x = torch.cat([x, y[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)  # (B, C + K, H, W)
        h = self.body(x.contiguous(memory_format=CHANNELS_LAST))  # (B, F, H / 4, W / 4)
        mu, logvar = self.head(h.flatten(1)).to(x.dtype).chunk(2, dim=1)
        return mu, logvar


class ConvDecoder(nn.Module):
    """A linear layer and four transposed 3×3 convolutions that mirror the encoder's."""

    def __init__(
        self, latent_dim: int, base_channels: int, image_shape: ImageShape, *, activation: Activation, num_classes: int
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.coarse_shape = (base_channels, height // 4, width // 4)
        self.stem = Linear(latent_dim + num_classes, math.prod(self.coarse_shape))
        layers: list[nn.Module] = [activation()]
        for stride in (1, 2, 2):
            layer = ConvTranspose2d(base_channels, base_channels, 3, stride, padding=1, output_padding=stride - 1)
            layers += [layer, activation()]
        layers.append(ConvTranspose2d(base_channels, channels, 3, padding=1))
        self.body = nn.Sequential(*layers).to(memory_format=CHANNELS_LAST)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Latents (B, D) to logits (B, C, H, W)."""
        h = self.stem(with_class(z, y)).unflatten(1, self.coarse_shape)  # (B, F, H / 4, W / 4)
        return self.body(h.contiguous(memory_format=CHANNELS_LAST))

    def set_bias(self, logits: Tensor) -> None:
        """Start from the mean of this image's logits, (C, H, W): a convolution has one bias per channel."""
        self.body[-1].get_parameter("bias").copy_(logits.mean((1, 2)))
