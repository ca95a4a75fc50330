"""The batches of an epoch.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vae.data.pixels import to_pixels
from vae.data.splits import Split


def shuffled_batches(split: Split, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over every image once, in an order drawn from `generator`.

    Yields:
        x (B, C, H, W) float32 in [0, 1] and its labels (B,); the last batch may be smaller.
    """
    order = torch.randperm(len(split), generator=generator, device=split.device)
    for index in order.split(batch_size):
        yield to_pixels(split.gather(index)), split.labels[index]
