"""uint8 images to pixels and back: resizing, binarisation.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vae.data.splits import Split

BINARIZE_SEED = 0  # of every draw that is made once: runs of all seeds see the same binary images


def to_pixels(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 pixels in [0, 1], same shape."""
    return images.float().div_(255)


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images (N, C, H, W) to (N, C, size, size), bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    scaled = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return scaled.round().to(torch.uint8)


def crop_square(images: Tensor) -> Tensor:
    """Cut images (N, C, H, W) to a square about their centre."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def enlarge(pixels: Tensor, size: int) -> Tensor:
    """Enlarge pixels (N, C, H, W) to (N, C, size, size) by repeating them, so that each stays visible."""
    return F.interpolate(pixels, size=(size, size), mode="nearest-exact")


def threshold(images: Tensor) -> Tensor:
    """Round uint8 images to 0 and 255: white where a pixel is above one half."""
    return (images > 127).to(torch.uint8).mul_(255)


def draw_once(split: Split, *, seed: int) -> Split:
    """Draw b ~ Bernoulli(x) once for every image, as uint8 images of 0 and 255."""
    generator = torch.Generator().manual_seed(seed)

    def draw(images: Tensor) -> Tensor:
        return torch.bernoulli(to_pixels(images.cpu()), generator=generator).to(torch.uint8).mul_(255)

    return split.convert(draw)
