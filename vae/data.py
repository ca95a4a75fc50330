"""Data sets as uint8 tensors on the training device, and the batches drawn from them.

Shapes: N images of a split, B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vae.errors import UsageError
from vae.sources import FILES, FOLDERS, DataError, UnavailableError, load_idx_set

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

    def to(self, device: torch.device) -> Split:
        """The same on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """A data set, split. `val` is there only where a part of the training set was held out."""

    name: str
    train: Split
    val: Split | None
    test: Split
    class_names: tuple[str, ...]
    fallback: str = ""  # why the digits stand in for MNIST, if they do

    @property
    def title(self) -> str:
        """The data set's name as pictures and tables print it."""
        return TITLES[self.name] + (" (standing in for MNIST)" if self.fallback else "")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> Splits:
        """The same with every tensor on `device`, where it stays."""
        val = self.val.to(device) if self.val else None
        return replace(self, train=self.train.to(device), val=val, test=self.test.to(device))


def load_splits(
    dataset: str,
    data_dir: Path,
    *,
    val_split: float = 0.0,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Splits:
    """Load a data set by name.

    Args:
        dataset: `auto` is MNIST or, only where it can't be had, the digits, with the reason in `fallback`.
        data_dir: where files are looked for and kept.
        val_split: fraction of the training set to hold out, in [0, 1).
        seed: of the choice of the held-out images.
        say: told in a line before anything is downloaded.

    Raises:
        DataError: a damaged file, or a data set that can't be had.
    """
    fallback = ""
    if dataset == "digits":
        name, train, test = dataset, *_load_digits()
    else:
        name = "mnist" if dataset == "auto" else dataset
        try:
            train, test = _load_mnist_family(name, data_dir, say)
        except UnavailableError as error:
            if dataset != "auto":
                raise UnavailableError(f"{TITLES[name]} can't be had: {error}. {_ways_out(name, data_dir)}") from None
            fallback = str(error)
            name, train, test = "digits", *_load_digits()
    train, val = _hold_out(train, val_split, seed)
    return Splits(name, train, val, test, CLASS_NAMES[name], fallback)


def _load_mnist_family(name: str, data_dir: Path, say: Callable[[str], None]) -> tuple[Split, Split]:
    arrays = load_idx_set(name, data_dir, say=say)
    pairs = (FILES[:2], FILES[2:])
    train, test = (Split(arrays[images].unsqueeze(1), arrays[labels].long()) for images, labels in pairs)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{data_dir}: training images {tuple(train.images.shape)}, test images {tuple(test.images.shape)}"
        )
    return train, test


def _ways_out(name: str, data_dir: Path) -> str:
    return (
        f"Put the four files into {data_dir / FOLDERS[name] / 'raw'} (plain or .gz), run again with a network, "
        "or use --dataset digits, which needs neither"
    )


def _load_digits() -> tuple[Split, Split]:
    """scikit-learn's 1,797 digits of 8×8 pixels, resized to 28×28: 1,437 to train on, 360 to test on, stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    small = torch.from_numpy(data.images).float().unsqueeze(1) / 16  # (N, 1, 8, 8)
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bicubic", align_corners=False)
    images = large.clamp(0, 1).mul(255).round().to(torch.uint8)
    labels = torch.from_numpy(data.target).long()
    train, test = train_test_split(range(len(labels)), test_size=360, stratify=data.target, random_state=0)
    return Split(images[train], labels[train]), Split(images[test], labels[test])


def _hold_out(train: Split, fraction: float, seed: int) -> tuple[Split, Split | None]:
    if not fraction:
        return train, None
    count = round(len(train) * fraction)
    if not 0 < count < len(train):
        raise UsageError(
            f"--val_split {fraction} of {len(train)} images holds out {count}: nothing to choose or to train on"
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    val, rest = order[:count], order[count:]
    return Split(train.images[rest], train.labels[rest]), Split(train.images[val], train.labels[val])


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 pixels in [0, 1], same shape."""
    return images.float().div_(255)


def shuffled_batches(images: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Every image once, in an order drawn from `generator`: an index, a cast and a division per batch.

    Yields:
        (B, C, H, W) float32 in [0, 1]; the last batch may be smaller.
    """
    order = torch.randperm(len(images), generator=generator, device=images.device)
    for index in order.split(batch_size):
        yield to_pixels(images[index])
