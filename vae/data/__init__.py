"""Where images come from, verified; uint8 tensors; batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae.data.arrays import make_splits
    from vae.data.datasets import load_splits
    from vae.data.pixels import to_pixels
    from vae.data.splits import Split, Splits

_MODULE_OF = {"Split": "splits", "Splits": "splits", "load_splits": "datasets", "make_splits": "arrays"}
_MODULE_OF |= {"to_pixels": "pixels"}
__all__ = ["Split", "Splits", "load_splits", "make_splits", "to_pixels"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the processes that decode pictures do without torch."""
    if name in _MODULE_OF:
        return getattr(import_module(f"vae.data.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'vae.data' has no attribute {name!r}")
