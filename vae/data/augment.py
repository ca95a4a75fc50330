"""Random distortions of training images, against overfitting. Images that are scored are never distorted.

Shapes: B batch, C channels, H height, W width, N `noise_size`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Standard deviations at strength 1: radians, a factor, a factor, and half-widths of the image.
TURN, STRETCH, SHEAR, SHIFT = 0.1, 0.05, 0.1, 0.04
CONTRAST = 1.15  # against the interpolation's blur: keeps the mean pixel entropy of MNIST at 45.8 nats
KNOTS = 6  # along each side: the displacements are drawn at these points, and interpolated in between


def noise_size(elastic: float) -> int:
    """How many random numbers the distortion of an image takes."""
    return 6 + (2 * KNOTS**2 if elastic else 0)


def distort(x: Tensor, eps: Tensor, *, strength: float, elastic: float = 0.0) -> Tensor:
    """Rotate, stretch, shear, shift and warp every image at random, each on its own; after Simard et al. 2003, sec. 2.

    Args:
        x: (B, C, H, W) in [0, 1]; outside of the image, pixels count as 0.
        eps: standard normal noise, (N, B).
        strength: standard deviations in units of 0.1 radians, 5 % and, for MNIST, half a pixel.
        elastic: standard deviation of the displacement at each knot, along each axis, in 28ths of the image's side.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    turn, stretch_x, stretch_y, shear, shift_x, shift_y = strength * eps[:6]
    cos, sin, shear = torch.cos(TURN * turn), torch.sin(TURN * turn), SHEAR * shear
    width, height = 1 + STRETCH * stretch_x, 1 + STRETCH * stretch_y
    rows = [
        torch.stack([width * cos, width * (shear * cos - sin), SHIFT * shift_x], dim=1),
        torch.stack([height * sin, height * (shear * sin + cos), SHIFT * shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    if elastic:
        knots = eps[6:].T.reshape(-1, 2, KNOTS, KNOTS) * (elastic * 2 / 28)  # the image's side is 2 long
        warp = F.interpolate(knots, size=x.shape[-2:], mode="bicubic", align_corners=True)
        grid = grid + warp.movedim(1, -1)
    moved = F.grid_sample(x, grid, mode="bicubic", align_corners=False)
    return ((moved - 0.5) * CONTRAST + 0.5).clamp(0, 1)
