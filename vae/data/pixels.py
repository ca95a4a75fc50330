"""uint8 images to pixels and back: resizing, binarisation.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINARIZE_SEED = 0  # of every draw that is made once: all runs, whatever their seed, see the same binary images
CHUNK = 10_000  # images drawn at a time: it is part of the draw
RESIZED = 1000  # images resized at a time, as floats


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 pixels in [0, 1], same shape."""
    return images.float().div_(255)


def resize(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) uint8 scaled to (N, C, size, size), bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    scaled = [
        F.interpolate(chunk.float(), size=(size, size), mode="bilinear", antialias=True).round().to(torch.uint8)
        for chunk in images.split(RESIZED)
    ]
    return torch.cat(scaled)


def enlarge(pixels: Tensor, size: int) -> Tensor:
    """Pixels (N, C, H, W) repeated to (N, C, size, size), so that each is seen."""
    return F.interpolate(pixels, size=(size, size), mode="nearest-exact")


def threshold(images: Tensor) -> Tensor:
    """uint8 images of 0 and 255: white where a pixel is above one half."""
    return (images > 127).to(torch.uint8).mul_(255)


def draw_once(images: Tensor, *, seed: int) -> Tensor:
    """One draw b ~ Bernoulli(x) from a seed, as uint8 images of 0 and 255."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.bernoulli(to_pixels(chunk), generator=generator).to(torch.uint8) for chunk in images.split(CHUNK)]
    return torch.cat(drawn).mul_(255)
