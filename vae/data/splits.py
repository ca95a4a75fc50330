"""Images and their classes as tensors, split into training, validation and test set.

Shapes: N images of a split, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vae.data.cache import scratch_images
from vae.system import memory

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "kmnist": "KMNIST", "digits": "scikit-learn digits"}
DIGITS = tuple(str(digit) for digit in range(10))
CLASS_NAMES = {
    "mnist": DIGITS,
    "digits": DIGITS,
    "fashion_mnist": ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}
CHUNK_PIXELS = 2**22  # of the images that are read at a time: 17 MB as floats
LARGEST_SHARE = 0.5  # of a GPU's free memory that mapped images may take


@dataclass(frozen=True)
class Split:
    """Images and their classes, in memory or mapped from a file, of which only what is asked for is read.

    Attributes:
        stored: (M, C, H, W) uint8, contiguous; those of a data set larger than the device's memory are on the CPU.
        labels: (N,) int64, on the device to train on.
        rows: the places of the split's images in `stored`, (N,), on its device; `None` for all of them in order.
        is_mapped: whether `stored` is a file's, which must not be written to; what is made of it goes to a file too.
    """

    stored: Tensor
    labels: Tensor
    rows: Tensor | None = None
    is_mapped: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where labels are, and where images are handed out."""
        return self.labels.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.stored.shape[1:]
        return channels, height, width

    @property
    def images(self) -> Tensor:
        """All images, (N, C, H, W) uint8, which a part of a mapped split copies: see `chunks`."""
        if self.rows is None and self.stored.device == self.device:
            return self.stored
        return self.gather(torch.arange(len(self)))

    def gather(self, index: Tensor) -> Tensor:
        """The images at `index` (B,), on the device: (B, C, H, W) uint8."""
        places = index.to(self.stored.device)
        places = places if self.rows is None else self.rows[places]
        rows = self.stored.flatten(1).index_select(0, places)  # gathering whole rows is five times as fast
        return rows.unflatten(1, self.image_shape).to(self.device)

    def chunk_size(self, count: int) -> int:
        """At most `count`: the number of images that may be in memory as floats at a time."""
        return max(1, min(count, CHUNK_PIXELS // math.prod(self.image_shape)))

    def chunks(self, count: int = 1000, *, exactly: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """All images (B, C, H, W) and labels (B,) in order; B is `count`, or unless `exactly` less of large images."""
        count = count if exactly else self.chunk_size(count)
        for start in range(0, len(self), count):
            labels = self.labels[start : start + count]
            if self.rows is None:
                yield self.stored[start : start + count].to(self.device), labels
            else:
                yield self.gather(torch.arange(start, start + len(labels))), labels

    def take(self, index: Tensor) -> Split:
        """Return the images at `index`, (any number,), in its order: a copy, or rows of a mapped file."""
        labels = self.labels[index.to(self.device)]
        if not self.is_mapped:
            return Split(self.gather(index), labels)
        rows = index.to(self.stored.device)
        return replace(self, rows=rows if self.rows is None else self.rows[rows], labels=labels)

    def in_file_order(self) -> Split:
        """Return the same images in an order in which a disk reads a mapped file at its full speed."""
        return self if self.rows is None else self.take(self.rows.argsort())

    def hold_out(self, count: int, *, seed: int) -> tuple[Split, Split]:
        """Return the rest, and `count` images drawn at random."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.take(order[count:]), self.take(order[:count])

    def convert(self, change: Callable[[Tensor], Tensor]) -> Split:
        """Return the split with other images, which `change` makes of (B, C, H, W) uint8, chunk by chunk in order."""
        stored, start = self.stored, 0
        for images, _ in self.chunks():
            changed = change(images)
            if not start:
                size = (len(self), *changed.shape[1:])
                stored = scratch_images(size) if self.is_mapped else torch.empty(size, dtype=torch.uint8)
                stored = stored.to(self.stored.device)
            stored[start : start + len(changed)] = changed
            start += len(changed)
        return replace(self, stored=stored, rows=None)

    def to(self, device: torch.device) -> Split:
        """Return the same on `device`; mapped images stay where they are if they would fill its memory."""
        if device.type == self.stored.device.type == "cpu":
            return self
        free, size = memory.available(device), len(self) * math.prod(self.image_shape)
        if self.is_mapped and free is not None and size > LARGEST_SHARE * free:
            return replace(self, labels=self.labels.to(device))
        return Split(torch.cat([images.to(device) for images, _ in self.chunks()]), self.labels.to(device))


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
        return self.train.image_shape

    @property
    def all(self) -> tuple[Split, ...]:
        """Training, validation and test set, those that there are."""
        return tuple(split for split in (self.train, self.val, self.test) if split is not None)

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
