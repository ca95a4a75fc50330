"""Running nets without gradients, with the quicker of PyTorch's two libraries for float32 matrix products on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


@contextmanager
def inference() -> Iterator[None]:
    """No gradients inside the block, and dense layers at full speed. Also a decorator: `@inference()`.

    PyTorch multiplies float32 matrices by MKL, which leaves AVX-512 unused on processors that are not Intel's. Where
    there is AVX-512, the products of linear layers run on oneDNN instead: twice as fast on an AMD EPYC, and float32
    as well.
    """
    with torch.no_grad(), _OneDNN():
        yield


def has_quick_linear() -> bool:
    """Whether this CPU and this PyTorch have what `inference` runs linear layers on."""
    libraries = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    return libraries and torch.cpu.get_capabilities().get("avx512_f", False)


class _OneDNN(TorchFunctionMode):
    """Replaces the function that every linear layer calls."""

    def __init__(self) -> None:
        super().__init__()
        self._here = has_quick_linear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and self._here and not kwargs:
            x, weight, *bias = args
            if x.dtype == weight.dtype == torch.float32 and x.device.type == weight.device.type == "cpu":
                return torch.ops.mkldnn._linear_pointwise(x, weight, bias[0] if bias else None, "none", [], "")
        return func(*args, **(kwargs or {}))
