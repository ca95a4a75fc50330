"""Where images come from, verified; uint8 tensors; batches."""

from vae.data.datasets import load_splits
from vae.data.pixels import to_pixels
from vae.data.splits import Split, Splits

__all__ = ["Split", "Splits", "load_splits", "to_pixels"]
