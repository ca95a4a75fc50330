"""uint8 images to pixels and back: resizing, binarisation.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINARIZE_SEED = 0  # of every draw that is made once: runs of all seeds see the same binary images
CHUNK = 10_000  # images drawn at a time; another number would change the draw
RESIZE_CHUNK = 1000  # images resized at a time, to bound the memory that floats take


def to_pixels(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 pixels in [0, 1], same shape."""
    return images.float().div_(255)


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images (N, C, H, W) to (N, C, size, size), bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    chunks = [
        F.interpolate(chunk.float(), size=(size, size), mode="bilinear", antialias=True).round().to(torch.uint8)
        for chunk in images.split(RESIZE_CHUNK)
    ]
    return torch.cat(chunks)


def enlarge(pixels: Tensor, size: int) -> Tensor:
    """Enlarge pixels (N, C, H, W) to (N, C, size, size) by repeating them, so that each stays visible."""
    return F.interpolate(pixels, size=(size, size), mode="nearest-exact")


def threshold(images: Tensor) -> Tensor:
    """Round uint8 images to 0 and 255: white where a pixel is above one half."""
    return (images > 127).to(torch.uint8).mul_(255)


def draw_once(images: Tensor, *, seed: int) -> Tensor:
    """Draw b ~ Bernoulli(x) once, as uint8 images of 0 and 255."""
    generator = torch.Generator().manual_seed(seed)
    chunks = [torch.bernoulli(to_pixels(chunk), generator=generator).to(torch.uint8) for chunk in images.split(CHUNK)]
    return torch.cat(chunks).mul_(255)
