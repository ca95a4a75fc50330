"""A decoder whose last layers are shared by the patches of an image, so that they overfit less.

Dense layers make a few features of every patch, mixer blocks (Tolstikhin et al. 2021, fig. 1) let patches and features
exchange what they have, and one linear layer, the same for all patches, turns features into pixels.

Shapes: B batch, C channels, H height, W width, D latent_dim, K num_classes, N patches, F features of a patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vae.model.linear import Linear
from vae.model.networks import Activation, dense_layers, with_class
from vae.model.patches import ImageShape, to_images, to_patches

PATCHES_HIDDEN = 64  # of the hidden layer over a feature's patches
EXPANSION = 2  # of the hidden layer over a patch's features, in widths


class MixerBlock(nn.Module):
    """Two residual steps with the norm first: over each feature's patches, then over each patch's features."""

    def __init__(self, patches: int, width: int, activation: Activation) -> None:
        super().__init__()
        self.patch_norm, self.feature_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.patch_inner, self.patch_outer = Linear(patches, PATCHES_HIDDEN), Linear(PATCHES_HIDDEN, patches)
        self.feature_inner = Linear(width, EXPANSION * width)
        self.feature_outer = Linear(EXPANSION * width, width)
        self.activation = activation()

    def forward(self, h: Tensor) -> Tensor:
        """(B, N, F) to (B, N, F)."""
        h = h + self.patch_outer(self.activation(self.patch_inner(self.patch_norm(h).mT))).mT
        return h + self.feature_outer(self.activation(self.feature_inner(self.feature_norm(h))))


class MixerDecoder(nn.Module):
    """Dense layers through `hidden_dims` to the features of every patch, mixer blocks, and a layer that patches share.

    Attributes:
        patches: N.
        draws_images: whether the output has the images' height and width.

    Args:
        latent_dim: D.
        hidden_dims: widths of the dense layers.
        output_shape: (C, H, W), or of an output for each patch, (N, ...).
        image_shape: (C, H, W) of the images; H and W are multiples of `patch_size`.
        patch_size: height and width of a patch, in pixels.
        patch_width: F.
        mixer_blocks: how many.
        activation: makes one.
        block: kind of the dense layers, as `dense_layers` has it.
        num_classes: K.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden_dims: Sequence[int],
        output_shape: Sequence[int],
        *,
        image_shape: ImageShape,
        patch_size: int,
        patch_width: int,
        mixer_blocks: int,
        activation: Activation,
        block: str,
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
        self.body = dense_layers([latent_dim + num_classes, *hidden_dims], activation, block)
        self.stem = Linear(hidden_dims[-1], self.patches * patch_width)
        blocks = [MixerBlock(self.patches, patch_width, activation) for _ in range(mixer_blocks)]
        self.mixers = nn.Sequential(*blocks, nn.LayerNorm(patch_width), activation())
        self.head = Linear(patch_width, math.prod(output_shape) // self.patches, bias=False)
        self.bias = nn.Parameter(torch.zeros(self.patches, self.head.out_features))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Latents (B, D) to what the likelihood takes, such as logits (B, C, H, W)."""
        h = self.stem(self.body(with_class(z, y))).unflatten(1, (self.patches, -1))
        output = self.head(self.mixers(h)) + self.bias
        if self.draws_images:
            return to_images(output, self.patch_size, height=self.output_shape[1])
        return output.unflatten(2, self.output_shape[1:])

    def set_bias(self, logits: Tensor) -> None:
        """Start from this output, of `output_shape`."""
        self.bias.copy_(to_patches(logits, self.patch_size) if self.draws_images else logits.flatten(1))
