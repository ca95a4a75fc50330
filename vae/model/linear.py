"""Linear layers that a CPU scores at full speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_blocks = 0  # of `scoring` that have been entered


@contextmanager
def scoring() -> Iterator[None]:
    """No gradients inside the block, and this package's `Linear` layers at full speed. Also a decorator."""
    global _blocks
    _blocks += 1
    try:
        with torch.no_grad():
            yield
    finally:
        _blocks -= 1


class Linear(nn.Linear):
    """`nn.Linear`; inside a `scoring` block its float32 products run on the quicker of a CPU's two libraries.

    PyTorch takes MKL, which on an AMD EPYC with AVX-512 has less than half of oneDNN's speed. Both compute in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if _blocks and not torch.is_grad_enabled() and is_quicker_on_onednn(x, self.weight):
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return super().forward(x)


def is_quicker_on_onednn(*operands: Tensor) -> bool:
    """Whether this PyTorch has oneDNN, this CPU has AVX-512, and all operands are float32 there."""
    if not torch.backends.mkldnn.is_available() or not torch.cpu.get_capabilities().get("avx512_f", False):
        return False
    return all(operand.dtype == torch.float32 and operand.device.type == "cpu" for operand in operands)
