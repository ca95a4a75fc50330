"""Where images come from, verified; uint8 tensors; batches."""

from vae.data.datasets import Split, Splits, load_splits
from vae.data.pixels import to_pixels

__all__ = ["Split", "Splits", "load_splits", "to_pixels"]
