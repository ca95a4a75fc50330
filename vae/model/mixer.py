"""Mixers: dense nets whose layers mix a patch's channels, alike for all patches, and the patches of a channel.

The blocks are those of the MLP-Mixer, Tolstikhin et al. 2021, fig. 1. Around them, patches have places (what is added
after the first layer) and are not averaged in the end. Weights that patches share overfit less.

Shapes: B batch, C channels, H height, W width, D latent_dim, K num_classes, N patches, M pixels of a patch, F width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vae.model.networks import Activation, with_class
from vae.model.patches import ImageShape, to_images, to_patches

PATCH_WIDTH = 64  # of the hidden layer over a channel's patches
EXPANSION = 2  # of the hidden layer over a patch's channels, in widths


class MixerBlock(nn.Module):
    """Two residual steps with the norm first: over each channel's patches, then over each patch's channels."""

    def __init__(self, patches: int, width: int, activation: Activation) -> None:
        super().__init__()
        self.patch_norm, self.channel_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.patch_inner, self.patch_outer = nn.Linear(patches, PATCH_WIDTH), nn.Linear(PATCH_WIDTH, patches)
        self.channel_inner = nn.Linear(width, EXPANSION * width)
        self.channel_outer = nn.Linear(EXPANSION * width, width)
        self.activation = activation()

    def forward(self, h: Tensor) -> Tensor:
        """(B, N, F) to (B, N, F)."""
        h = h + self.patch_outer(self.activation(self.patch_inner(self.patch_norm(h).mT))).mT
        return h + self.channel_outer(self.activation(self.channel_inner(self.channel_norm(h))))


def _blocks(patches: int, widths: Sequence[int], activation: Activation) -> nn.Sequential:
    layers = [MixerBlock(patches, width, activation) for width in widths]
    return nn.Sequential(*layers, nn.LayerNorm(widths[-1]), activation())


class MixerEncoder(nn.Module):
    """A linear layer that all patches share, mixer blocks, and a linear layer to mu and logvar of q(z|x).

    Args:
        image_shape: (C, H, W); H and W are multiples of `patch_size`.
        widths: F of each block, all alike.
        latent_dim: D.
        patch_size: height and width of a patch, in pixels.
        activation: makes one.
        num_classes: K; each patch is shown the class.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        widths: Sequence[int],
        latent_dim: int,
        *,
        patch_size: int,
        activation: Activation,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.image_shape, self.patch_size = image_shape, patch_size
        pixels = image_shape[0] * patch_size**2
        patches = math.prod(image_shape) // pixels
        self.stem = nn.Linear(pixels + num_classes, widths[0])
        self.places = nn.Parameter(torch.zeros(patches, widths[0]))
        self.body = _blocks(patches, widths, activation)
        self.head = nn.Linear(patches * widths[-1], 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], (B, C, H, W) or flat, to mu and logvar, (B, D) each, of the images' dtype."""
        patches = to_patches(x.reshape(-1, *self.image_shape), self.patch_size)  # (B, N, M)
        y = None if y is None else y.unsqueeze(1).expand(-1, patches.shape[1], -1)
        h = self.body(self.stem(with_class(patches, y)) + self.places)
        mu, logvar = self.head(h.flatten(1)).to(x.dtype).chunk(2, dim=1)
        return mu, logvar


class MixerDecoder(nn.Module):
    """The encoder's mirror image; each patch has an output bias of its own.

    Attributes:
        patches: N.
        draws_images: whether the output has the images' height and width.

    Args:
        latent_dim: D.
        widths: F of each block, all alike.
        output_shape: (C, H, W), or of an output for each patch, (N, ...).
        image_shape: (C, H, W) of the images; H and W are multiples of `patch_size`.
        patch_size: height and width of a patch, in pixels.
        activation: makes one.
        num_classes: K.
    """

    def __init__(
        self,
        latent_dim: int,
        widths: Sequence[int],
        output_shape: Sequence[int],
        *,
        image_shape: ImageShape,
        patch_size: int,
        activation: Activation,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.output_shape, self.patch_size = tuple(output_shape), patch_size
        self.draws_images = self.output_shape[1:] == image_shape[1:] and self.output_shape[0] % image_shape[0] == 0
        self.patches = image_shape[1] * image_shape[2] // patch_size**2
        if not self.draws_images and self.output_shape[0] != self.patches:
            raise ValueError(
                f"the likelihood takes {self.output_shape}: a mixer draws images, or outputs of each patch"
            )
        self.stem = nn.Linear(latent_dim + num_classes, self.patches * widths[0])
        self.body = _blocks(self.patches, widths, activation)
        self.head = nn.Linear(widths[-1], math.prod(output_shape) // self.patches, bias=False)
        self.bias = nn.Parameter(torch.zeros(self.patches, self.head.out_features))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Latents (B, D) to what the likelihood takes, such as logits (B, C, H, W)."""
        h = self.stem(with_class(z, y)).unflatten(1, (self.patches, -1))
        output = self.head(self.body(h)) + self.bias
        if self.draws_images:
            return to_images(output, self.patch_size, height=self.output_shape[1])
        return output.unflatten(2, self.output_shape[1:])

    def set_bias(self, logits: Tensor) -> None:
        """Start from this output, of `output_shape`."""
        self.bias.copy_(to_patches(logits, self.patch_size) if self.draws_images else logits.flatten(1))
