"""From a data set as it is stored to the splits of a run: held out, scaled, made binary."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from vae.data.errors import DataError
from vae.data.pixels import BINARIZE_SEED, draw_once, resize, threshold
from vae.data.splits import Split, Splits
from vae.system import memory
from vae.system.errors import UsageError

TEST_FRACTION, MIN_TEST = 0.1, 4  # of images without a test set: the part held out; and the least of any


def prepare(splits: Splits, *, val_split: float, seed: int, image_size: int, binarize: str) -> Splits:
    """Scale the images, make them binary and hold out a validation set; the arguments are `load_splits`'."""
    count = sum(len(split) for split in splits.all if not split.is_mapped)
    memory.require(count * splits.image_shape[0] * image_size**2, f"--image_size {image_size}: {count:,} images")
    if splits.image_shape[1:] != (image_size, image_size):
        splits = splits.map(lambda split: split.convert(partial(resize, size=image_size)))
    splits = _make_binary(splits, binarize)
    if val_split and splits.val:
        raise UsageError(f"{splits.title} has a validation set of its own: no --val_split")
    if val_split:
        splits = _hold_out_val(splits, val_split, seed)
    return _draw_scored(splits) if binarize == "dynamic" else splits


def hold_out_test(images: Split, *, seed: int, source: object) -> tuple[Split, Split]:
    """Training and test images of a data set that has no test set of its own."""
    check_counts(images, images, source=source)
    return images.hold_out(max(MIN_TEST, round(len(images) * TEST_FRACTION)), seed=seed)


def check_counts(train: Split, test: Split, *, source: object) -> None:
    """Refuse what is too little to train and to test with."""
    if not len(train) or len(test) < MIN_TEST:
        raise DataError(f"{source} holds too few images: at least {MIN_TEST} to test with, and some to train on")


def _make_binary(splits: Splits, binarize: str) -> Splits:
    """Apply `threshold` and `static`: before any images are held out, so that each is the same in every run."""
    if binarize == "threshold":
        return splits.map(lambda split: split.convert(threshold))
    if binarize == "static":
        train, test = draw_once(splits.train, seed=BINARIZE_SEED), draw_once(splits.test, seed=BINARIZE_SEED + 1)
        val = draw_once(splits.val, seed=BINARIZE_SEED + 2) if splits.val else None  # of its own
        return replace(splits, train=train, val=val, test=test, note=f"drawn here with seed {BINARIZE_SEED}")
    return splits


def _hold_out_val(splits: Splits, fraction: float, seed: int) -> Splits:
    total = len(splits.train)
    count = round(total * fraction)
    if not 0 < count < total:
        raise UsageError(f"--val_split {fraction} of {total} images holds out {count}: too few on one side")
    train, val = splits.train.hold_out(count, seed=seed)
    return replace(splits, train=train, val=val)


def _draw_scored(splits: Splits) -> Splits:
    """For `dynamic`, draw the images that are scored, once; training images stay grey and are drawn per batch."""
    val = draw_once(splits.val, seed=BINARIZE_SEED) if splits.val else None
    note = f"test images drawn once with seed {BINARIZE_SEED}"
    return replace(splits, val=val, test=draw_once(splits.test, seed=BINARIZE_SEED), note=note)
