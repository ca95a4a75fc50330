"""Arrays of one's own as a data set: in an .npz or .npy, which stays mapped where it can, or in memory.

Shapes: N images.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.data import cache
from vae.data.array_files import ArrayFile, open_arrays
from vae.data.cache import Create
from vae.data.errors import DataError
from vae.data.pixel_arrays import as_images, convert, is_ready
from vae.data.prepare import check_counts, hold_out_test, prepare
from vae.data.splits import Split, Splits
from vae.system import memory
from vae.system.errors import UsageError, plain

logger = logging.getLogger(__name__)

# Names of images and labels in an .npz: Keras', MedMNIST's; then of images without a test set of their own, dSprites'.
NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
WHOLE = (("images", "labels"), ("imgs", "labels"), ("x", "y"), ("X", "y"), ("arr_0", "arr_1"))
MAX_CLASSES = 10_000
CONVERTER = 1  # raised when the same arrays would be converted to other pixels: what is in the cache no longer counts

Pair = tuple[ArrayFile, ArrayFile | None]  # images, and their labels if there are any


def load_arrays(path: Path, *, image_size: int, seed: int) -> Splits:
    """Load the images in an .npz or .npy; the labels, if there are any, become classes.

    Args:
        path: of the file.
        image_size: height and width of the images that are returned.
        seed: of the choice of the test images, where the file has none.

    Raises:
        DataError: one line with the name of the file or array and what is wrong with it.
    """
    pairs = _choose(path, open_arrays(path))
    parts = {name: _map_images(images, image_size) for name, (images, _) in pairs.items()}
    values = {name: labels.map() for name, (_, labels) in pairs.items() if labels}
    names = {name: str(labels) for name, (_, labels) in pairs.items() if labels}
    return _assemble(parts, values, label_names=names, source=path, title=plain(path.name), seed=seed)


def make_splits(
    train: Any,
    test: Any = None,
    *,
    labels: Any = None,
    test_labels: Any = None,
    image_size: int | None = None,
    val_split: float = 0.0,
    seed: int = 0,
    binarize: str = "none",
    title: str = "arrays",
) -> Splits:
    """Make a data set of NumPy arrays or tensors: `fit` trains on it.

    Args:
        train: images (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3: uint8, bool, or floats in [0, 1]. uint8 images
            that need no scaling are used where they are, mapped from a file if they are a `numpy.memmap`.
        test: likewise; `None` holds out a tenth of `train`, drawn by `seed`.
        labels: of the training images, (N,): numbers or text; `None` if they have none.
        test_labels: of the test images.
        image_size: height and width of the images that are returned; `None` for the shorter side of `train`.
        val_split: fraction of the training images to hold out, in [0, 1).
        seed: of the choice of images that are held out.
        binarize: `none`, `dynamic`, `static` or `threshold`.
        title: the data set's name in pictures and tables.

    Raises:
        DataError: images or labels that can't be used, in one line.
        UsageError: a fraction that leaves nothing.
    """
    if test is None and test_labels is not None:
        raise UsageError("test_labels without test: give the test images too")
    given = {"train": train} if test is None else {"train": train, "test": test}
    images = {name: as_images(_as_array(array), name) for name, array in given.items()}
    side = image_size or min(images["train"].shape[2:])
    parts = {name: _as_split(array, side, name) for name, array in images.items()}
    label_names = {"train": "labels", "test": "test_labels"}
    values = {name: _as_array(it) for name, it in (("train", labels), ("test", test_labels)) if it is not None}
    splits = _assemble(parts, values, label_names=label_names, source="this data set", title=title, seed=seed)
    return prepare(splits, val_split=val_split, seed=seed, image_size=side, binarize=binarize)


def _choose(path: Path, arrays: Mapping[str, ArrayFile]) -> dict[str, Pair]:
    """The arrays of each part by their names; all images are `train` where there is no test set."""
    pairs: dict[str, Pair] = {}
    for part, names in (*NAMES.items(), ("train", WHOLE)):
        for images, labels in names:
            if part not in pairs and images in arrays:
                pairs[part] = (arrays[images], arrays.get(labels))
    if "train" not in pairs and len(arrays) == 1:
        pairs["train"] = (next(iter(arrays.values())), None)
    if "train" not in pairs:
        present = ", ".join(map(plain, list(arrays)[:10]))
        raise DataError(
            f"{path} holds {present}: name its arrays x_train, y_train, x_test and y_test, or images and labels"
        )
    unlabelled = [images.name for images, labels in pairs.values() if not labels]
    if 0 < len(unlabelled) < len(pairs):
        raise DataError(f"{path} holds no labels for {', '.join(unlabelled)}: add them, or leave out all labels")
    return pairs


def _map_images(file: ArrayFile, side: int) -> Split:
    """Images in a file, mapped as they are or from the cache of those converted."""
    if not file.is_packed:
        images = as_images(file.map(), file)
        if is_ready(images, side):
            return _unlabelled(images, is_mapped=True)

    def build(create: Create) -> np.ndarray:
        images = as_images(file.map(), file)
        _note_scaling(images, side, file)
        return convert(images, side, create, file)

    status = file.path.stat()
    source = f"{file.path.resolve()} {file.name} at {side}"
    state = f"converter {CONVERTER}\0{status.st_size} {status.st_mtime_ns}"
    return _unlabelled(cache.load_or_build(source, state, build), is_mapped=True)


def _as_split(images: np.ndarray, side: int, name: str) -> Split:
    """Images in memory, or mapped by the caller."""
    if is_ready(images, side):
        return _unlabelled(images, is_mapped=isinstance(images, np.memmap))
    return _unlabelled(convert(images, side, cache.in_memory, name), is_mapped=False)


def _unlabelled(images: np.ndarray, *, is_mapped: bool) -> Split:
    return Split(cache.as_tensor(images), torch.zeros(len(images), dtype=torch.int64), is_mapped=is_mapped)


def _note_scaling(images: np.ndarray, side: int, what: object) -> None:
    height, width = images.shape[2:]
    if (height, width) != (side, side):
        how = "scaled" if height == width else "cropped to squares and scaled"
        logger.info("%s: images of %d×%d pixels, %s to %d×%d (--image_size)", what, width, height, how, side, side)


def _assemble(
    parts: dict[str, Split],
    labels: dict[str, np.ndarray],
    *,
    label_names: Mapping[str, str],
    source: object,
    title: str,
    seed: int,
) -> Splits:
    """Splits of these parts, with classes made of their labels; without test images, some are held out."""
    channels = {split.image_shape[0] for split in parts.values()}
    if len(channels) > 1:
        raise DataError(f"{source} holds images in grey and in colour: make all of them the same")
    values = {name: _as_classes(labels[name], len(parts[name]), label_names[name]) for name in labels}
    if values and values.keys() != parts.keys():
        raise DataError(f"{source} has labels of some images and not of others: give all of them, or none")
    class_names: tuple[str, ...] = ()
    if values:
        classes, numbers = np.unique(np.concatenate(list(values.values())), return_inverse=True)
        if len(classes) > MAX_CLASSES:
            raise DataError(f"{source} has {len(classes):,} different labels, which are no classes: leave them out")
        class_names = tuple(plain(name) for name in classes.tolist())
        ends = np.cumsum([len(it) for it in values.values()])[:-1]
        for name, own in zip(values, np.split(numbers, ends), strict=True):
            parts[name] = Split(parts[name].stored, torch.from_numpy(own).long(), is_mapped=parts[name].is_mapped)
    train = parts["train"]
    train, test = (train, parts["test"]) if "test" in parts else hold_out_test(train, seed=seed, source=source)
    check_counts(train, test, source=source)
    return Splits("arrays", train, parts.get("val"), test, class_names, title=title)


def _as_classes(labels: np.ndarray, count: int, what: str) -> np.ndarray:
    """Labels (N,), (N, 1) or one-hot (N, K) as values (N,) that can be sorted: numbers or text."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if len(labels.shape) not in (1, 2) or len(labels) != count:
        raise DataError(f"{what} has the shape {labels.shape} for {count:,} images: expected a label for each")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind not in "buifU":
        raise DataError(f"{what} holds values of type {labels.dtype}: labels are whole numbers or text")
    memory.require(labels.nbytes, what)
    if labels.ndim == 2:
        if labels.dtype.kind == "U" or not ((labels == 0) | (labels == 1)).all() or not (labels.sum(1) == 1).all():
            raise DataError(f"{what} has the shape {labels.shape}, and isn't one-hot: expected a label for each")
        labels = labels.argmax(1)
    if labels.dtype.kind == "f":
        if not (labels == np.rint(labels)).all():
            raise DataError(f"{what} holds fractions or NaN: labels are whole numbers or text; leave out any others")
        labels = labels.astype(np.int64)
    return np.asarray(labels)


def _as_array(values: Any) -> np.ndarray:
    """An array of what NumPy takes for one; tensors come from any device."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    array = np.asanyarray(values)
    return array.astype(str) if array.dtype == object else array
