"""Data sets as uint8 tensors on the training device, and the batches drawn from them.

Shapes: N images of a split, B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vae.data.download import FILES, FOLDERS, DataError, UnavailableError, load_idx_set
from vae.data.folder import load_folder
from vae.data.larochelle import COUNTS, have_static_files, read_amat, same_images
from vae.data.pixels import BINARIZE_SEED, draw_once, resize, threshold, to_pixels
from vae.system import memory
from vae.system.errors import UsageError, plain

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
        """The images at `index` (any number,), in its order."""
        index = index.to(self.images.device)
        return Split(self.images[index], self.labels[index])

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
    class_names: tuple[str, ...]  # empty: unlabelled, and every label is 0
    title: str  # the data set's name as pictures and tables print it
    fallback: str = ""  # why the digits stand in for MNIST, if they do
    note: str = ""  # on how pixels were made binary, for the protocol

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def standing_in(self, reason: str) -> Splits:
        """The same, marked as standing in for MNIST."""
        return replace(self, title=f"{TITLES[self.name]} (standing in for MNIST)", fallback=reason)

    def map_images(self, change: Callable[[Tensor], Tensor]) -> Splits:
        """The same with every split's images changed."""

        def changed(split: Split) -> Split:
            return Split(change(split.images), split.labels)

        return replace(
            self, train=changed(self.train), val=changed(self.val) if self.val else None, test=changed(self.test)
        )

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
    image_size: int = 28,
    binarize: str = "none",
) -> Splits:
    """Load a data set by name.

    Args:
        dataset: `auto` is MNIST or, only where it can't be had, the digits, with the reason in `fallback`.
        data_dir: where files are looked for and kept; with `folder`, the images.
        val_split: fraction of the training set to hold out, in [0, 1).
        seed: of the choice of the held-out images.
        image_size: height and width of the images that come back.
        binarize: `none`, `dynamic` (training images stay grey: the batches draw), `static` or `threshold`.

    Raises:
        DataError: a damaged file, or a data set that can't be had.
    """
    if dataset == "folder":
        train, test, class_names = load_folder(data_dir, size=image_size, seed=seed)
        splits = Splits(
            "folder", Split(*train), None, Split(*test), class_names, plain(data_dir.resolve().name) or "folder"
        )
    else:
        splits = _load_named(dataset, data_dir)
    if binarize == "static" and splits.name == "mnist" and have_static_files(data_dir):
        if val_split or image_size != 28:
            raise UsageError("Larochelle & Murray's files are 28×28 and split already: no --val_split, no --image_size")
        return _larochelle_murray(splits, data_dir)
    count = len(splits.train) + len(splits.test)
    memory.require(count * splits.image_shape[0] * image_size**2, f"--image_size {image_size}: {count:,} images")
    splits = splits.map_images(lambda images: resize(images, image_size))
    return _drawn_once(_held_out(_frozen(splits, binarize), val_split, seed), binarize)


def _load_named(dataset: str, data_dir: Path) -> Splits:
    fallback = ""
    name = "mnist" if dataset == "auto" else dataset
    try:
        train, test = _load_digits() if name == "digits" else _load_mnist_family(name, data_dir)
    except UnavailableError as error:
        if dataset != "auto":
            raise UnavailableError(f"{TITLES[name]} can't be had: {error}. {_ways_out(name, data_dir)}") from None
        name, fallback = "digits", str(error)
        train, test = _load_digits()
    splits = Splits(name, train, None, test, CLASS_NAMES[name], TITLES[name])
    return splits.standing_in(fallback) if fallback else splits


def _load_mnist_family(name: str, data_dir: Path) -> tuple[Split, Split]:
    arrays = load_idx_set(name, data_dir)
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


def _held_out(splits: Splits, fraction: float, seed: int) -> Splits:
    if not fraction:
        return splits
    train = splits.train
    count = round(len(train) * fraction)
    if not 0 < count < len(train):
        raise UsageError(f"--val_split {fraction} of {len(train)} images holds out {count}: too few on one side")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    val, rest = order[:count], order[count:]
    return replace(splits, train=train.take(rest), val=train.take(val))


def _frozen(splits: Splits, how: str) -> Splits:
    """Images made binary for good, before any are held out: a training image is the same in every run."""
    if how == "threshold":
        return splits.map_images(threshold)
    if how == "static":
        train, test = _draw(splits.train, BINARIZE_SEED), _draw(splits.test, BINARIZE_SEED + 1)
        return replace(splits, train=train, test=test, note=f"drawn here with seed {BINARIZE_SEED}")
    return splits


def _drawn_once(splits: Splits, how: str) -> Splits:
    """For `dynamic`: one draw of what is scored; the training images stay grey for the batches to draw from."""
    if how != "dynamic":
        return splits
    val = _draw(splits.val, BINARIZE_SEED) if splits.val else None
    note = f"test images drawn once with seed {BINARIZE_SEED}"
    return replace(splits, val=val, test=_draw(splits.test, BINARIZE_SEED), note=note)


def _draw(split: Split, seed: int) -> Split:
    return Split(draw_once(split.images, seed=seed), split.labels)


def _larochelle_murray(mnist: Splits, data_dir: Path) -> Splits:
    """MNIST split 50,000 / 10,000 / 10,000 as Larochelle & Murray drew it; unlabelled if their order is another."""
    images = {part: read_amat(data_dir, part) for part in COUNTS}
    cut = len(images["train"])
    grey = {"train": mnist.train.images[:cut], "valid": mnist.train.images[cut:], "test": mnist.test.images}
    if all(same_images(images[part], grey[part]) for part in COUNTS):
        labels = {"train": mnist.train.labels[:cut], "valid": mnist.train.labels[cut:], "test": mnist.test.labels}
        class_names = mnist.class_names
    else:
        labels = {part: torch.zeros(len(images[part]), dtype=torch.int64) for part in COUNTS}
        class_names = ()
    train, val, test = (Split(images[part], labels[part]) for part in COUNTS)
    return replace(mnist, train=train, val=val, test=test, class_names=class_names, note="Larochelle & Murray's files")


def shuffled_batches(split: Split, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in an order drawn from `generator`: an index, a cast and a division per batch.

    Yields:
        x (B, C, H, W) float32 in [0, 1] and its labels y (B,); the last batch may be smaller.
    """
    order = torch.randperm(len(split), generator=generator, device=split.images.device)
    images = split.images.flatten(1)  # whole rows are gathered five times as fast
    for index in order.split(batch_size):
        yield to_pixels(images.index_select(0, index).unflatten(1, split.images.shape[1:])), split.labels[index]
