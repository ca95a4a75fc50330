"""Data sets by name, loaded, split and made binary.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vae.data.arrays import load_arrays
from vae.data.download import FOLDERS, UnavailableError, load_idx_set
from vae.data.errors import DataError
from vae.data.folder import load_folder
from vae.data.idx import FILES, find_idx_files, read_idx_set
from vae.data.larochelle import COUNTS, find_labels, have_static_files, read_amat
from vae.data.prepare import check_counts, hold_out_test, prepare
from vae.data.splits import CLASS_NAMES, TITLES, Split, Splits
from vae.system.errors import UsageError, plain
from vae.system.extras import require


def would_download(dataset: str, data_dir: Path, *, binarize: str) -> bool:
    """Whether `load_splits` would download a data set into `data_dir`."""
    if binarize == "static" and dataset in ("mnist", "auto") and have_static_files(data_dir):
        return False
    folder = FOLDERS.get("mnist" if dataset == "auto" else dataset)
    return folder is not None and len(find_idx_files(data_dir / folder / "raw")) < len(FILES)


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
        dataset: `auto` is MNIST or, only if that is unavailable, the digits, with the reason in `fallback`.
        data_dir: where files are read and downloaded to; with `folder`, the folder of images; with `arrays`, the file.
        val_split: fraction of the training set to hold out, in [0, 1).
        seed: seed of the choice of the held-out images.
        image_size: height and width of the images that are returned.
        binarize: `none`, `dynamic` (training images stay grey and are drawn per batch), `static` or `threshold`.

    Raises:
        DataError: a damaged file, or a data set that is not available.
        UsageError: options that the data set does not allow.
    """
    if binarize == "static" and dataset in ("mnist", "auto") and have_static_files(data_dir):
        if val_split or image_size != 28:
            raise UsageError("Larochelle & Murray's files are 28×28 and split already: no --val_split, no --image_size")
        return _larochelle_murray(data_dir)
    if dataset == "arrays":
        splits = load_arrays(data_dir, image_size=image_size, seed=seed)
    elif dataset == "folder":
        splits = _load_folder(data_dir, size=image_size, seed=seed)
    else:
        splits = _load_named(dataset, data_dir)
    return prepare(splits, val_split=val_split, seed=seed, image_size=image_size, binarize=binarize)


def _load_folder(root: Path, *, size: int, seed: int) -> Splits:
    """Load someone's own images: four IDX files in a folder, or any pictures below it."""
    paths = find_idx_files(root)
    if paths:
        if missing := ", ".join(file for file in FILES if file not in paths):
            raise DataError(f"{root} holds IDX files, but no {missing} (plain or .gz): add what is missing")
        train, test = _pair(read_idx_set(paths))
        values, labels = torch.cat([train.labels, test.labels]).unique(return_inverse=True)
        class_names = tuple(map(str, values.tolist()))
        parts = [replace(train, labels=labels[: len(train)]), replace(test, labels=labels[len(train) :])]
    else:
        parts, class_names = load_folder(root, size=size)
    train, test = parts if len(parts) == 2 else hold_out_test(*parts, seed=seed, source=root)
    check_counts(train, test, source=root)
    return Splits("folder", train, None, test, class_names, title=plain(root.resolve().name) or "folder")


def _load_named(dataset: str, data_dir: Path) -> Splits:
    name, fallback = "mnist" if dataset == "auto" else dataset, ""
    try:
        train, test = _load_digits() if name == "digits" else _pair(load_idx_set(name, data_dir))
    except UnavailableError as error:
        if dataset != "auto":
            raw = data_dir / FOLDERS[name] / "raw"
            ways_out = (
                f"Put the four files into {raw} (plain or .gz), run again with a network, "
                "or use --dataset digits, which needs neither"
            )
            raise UnavailableError(f"{TITLES[name]} is not available: {error}. {ways_out}") from None
        name, fallback = "digits", str(error)
        train, test = _load_digits()
    splits = Splits(name, train, None, test, CLASS_NAMES[name], TITLES[name])
    return splits.standing_in(fallback) if fallback else splits


def _pair(arrays: dict[str, Tensor]) -> tuple[Split, Split]:
    """Training and test images of four IDX files."""
    train, test = (
        Split(arrays[images].unsqueeze(1), arrays[labels].long()) for images, labels in (FILES[:2], FILES[2:])
    )
    return train, test


def _load_digits() -> tuple[Split, Split]:
    """Load scikit-learn's 1,797 digits, enlarged from 8×8 pixels to 28×28 and split into 1,437 and 360, stratified."""
    require("--dataset digits", "scikit-learn", "scipy")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    small = torch.from_numpy(data.images).float().unsqueeze(1) / 16  # (N, 1, 8, 8)
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bicubic", align_corners=False)
    images = large.clamp(0, 1).mul(255).round().to(torch.uint8)
    labels = torch.from_numpy(data.target).long()
    train, test = train_test_split(range(len(labels)), test_size=360, stratify=data.target, random_state=0)
    return Split(images[train], labels[train]), Split(images[test], labels[test])


def _larochelle_murray(data_dir: Path) -> Splits:
    """Load Larochelle & Murray's binary MNIST, 50,000 / 10,000 / 10,000, with MNIST's labels where they fit."""
    images = {part: read_amat(data_dir, part) for part in COUNTS}
    labels = find_labels(images, data_dir)
    class_names = CLASS_NAMES["mnist"] if labels else ()
    train, val, test = (
        Split(images[part], labels[part] if labels else torch.zeros(len(images[part]), dtype=torch.int64))
        for part in COUNTS
    )
    return Splits("mnist", train, val, test, class_names, TITLES["mnist"], note="Larochelle & Murray's files")
