"""The batches of an epoch.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup


def shuffled_batches(
    split: Split, batch_size: int, generator: torch.Generator, *, processes: ProcessGroup = SINGLE_PROCESS
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Iterate over every image once, in an order drawn from `generator`.

    Args:
        split: the images.
        batch_size: of all processes together.
        generator: on the images' device, in the same state in all processes.
        processes: each gets its shard of a batch, and reads no other images.

    Yields:
        x (B, C, H, W) float32 in [0, 1], its labels (B,) and the batch's size in all processes, which is smaller than
        `batch_size` in the last one.
    """
    order = torch.randperm(len(split), generator=generator, device=split.device)
    for batch in order.split(batch_size):
        index = processes.shard(batch)
        yield to_pixels(split.gather(index)), split.labels[index], len(batch)
