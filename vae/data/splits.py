"""Images and their classes as tensors, split into training, validation and test set.

Shapes: N images of a split, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "kmnist": "KMNIST", "digits": "scikit-learn digits"}
DIGITS = tuple(str(digit) for digit in range(10))
CLASS_NAMES = {
    "mnist": DIGITS,
    "digits": DIGITS,
    "fashion_mnist": ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}


@dataclass(frozen=True)
class Split:
    """Images and their classes."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> Split:
        """Return the images at `index`, (any number,), in its order."""
        index = index.to(self.images.device)
        return Split(self.images[index], self.labels[index])

    def hold_out(self, count: int, *, seed: int) -> tuple[Split, Split]:
        """Return the rest, and `count` images drawn at random."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[count:]), self.take(order[:count])

    def to(self, device: torch.device) -> Split:
        """Return the same on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """A data set, split. `val` exists only where a part of the training set was held out."""

    name: str
    train: Split
    val: Split | None
    test: Split
    class_names: tuple[str, ...]  # empty if unlabelled; every label is then 0
    title: str  # the data set's name in pictures and tables
    fallback: str = ""  # why the digits stand in for MNIST, if they do
    note: str = ""  # how pixels were made binary, for the protocol

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def standing_in(self, reason: str) -> Splits:
        """Return the same, marked as standing in for MNIST."""
        return replace(self, title=f"{TITLES[self.name]} (standing in for MNIST)", fallback=reason)

    def map(self, change: Callable[[Split], Split]) -> Splits:
        """Return the same with every split changed."""
        val = None if self.val is None else change(self.val)
        return replace(self, train=change(self.train), val=val, test=change(self.test))

    def to(self, device: torch.device) -> Splits:
        """Return the same with every tensor on `device`."""
        return self.map(lambda split: split.to(device))
