"""Square patches of images, from left to right and from the top down.

Shapes: C channels, H height, W width, N patches, M pixels of a patch: C·size².
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ImageShape = tuple[int, int, int]  # (C, H, W)


def to_patches(x: Tensor, size: int) -> Tensor:
    """Images (..., C, H, W) as patches, (..., N, M); H and W are multiples of `size`, in pixels."""
    return F.pixel_unshuffle(x, size).flatten(-2).mT.contiguous()


def to_images(patches: Tensor, size: int, *, height: int) -> Tensor:
    """Patches (..., N, M) as images of this height, (..., C, H, W)."""
    return F.pixel_shuffle(patches.mT.unflatten(-1, (height // size, -1)), size)
