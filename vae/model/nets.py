"""The built-in encoder and decoder that an architecture's name and its knobs stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from vae.model.mixer import MixerDecoder
from vae.model.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, activation_maker
from vae.model.patches import ImageShape

Knobs = dict[str, Any]  # the VAE's arguments
BUILT_IN = (MLPDecoder, ConvDecoder, MixerDecoder)


def check_sides(arch: str, image_shape: ImageShape, patch_size: int) -> None:
    """Raise ValueError for images whose height or width an architecture can't take."""
    multiple = {"conv": 4, "mixer": patch_size}.get(arch, 1)
    if multiple < 1 or any(side % multiple for side in image_shape[1:]):
        raise ValueError(f"image_shape is {image_shape}: {arch} nets need height and width in multiples of {multiple}")


def make_encoder(image_shape: ImageShape, *, num_classes: int, knobs: Knobs) -> nn.Module:
    """An encoder of images (C, H, W)."""
    latent_dim, widths = knobs["latent_dim"], knobs["hidden_dims"]
    shared = _shared(knobs, num_classes)
    if knobs["arch"] == "conv":
        return ConvEncoder(image_shape, knobs["base_channels"], latent_dim, **shared)
    return MLPEncoder(image_shape, widths, latent_dim, block=knobs["block"], **shared)


def make_decoder(
    output_shape: Sequence[int], image_shape: ImageShape, *, num_classes: int, knobs: Knobs
) -> MLPDecoder | ConvDecoder | MixerDecoder:
    """A decoder whose output is what a likelihood takes for images (C, H, W): its `output_shape`."""
    latent_dim, widths = knobs["latent_dim"], knobs["hidden_dims"][::-1]
    shared = _shared(knobs, num_classes)
    if knobs["arch"] == "conv":
        channels, height, width = output_shape
        return ConvDecoder(latent_dim, knobs["base_channels"], (channels, height, width), **shared)
    if knobs["arch"] == "mixer":
        shared |= {name: knobs[name] for name in ("block", "patch_size", "patch_width", "mixer_blocks")}
        return MixerDecoder(latent_dim, widths, output_shape, image_shape=image_shape, **shared)
    return MLPDecoder(latent_dim, widths, output_shape, block=knobs["block"], **shared)


def _shared(knobs: Knobs, num_classes: int) -> Knobs:
    return {"activation": activation_maker(knobs["activation"], knobs["negative_slope"]), "num_classes": num_classes}
