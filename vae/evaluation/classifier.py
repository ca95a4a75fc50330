"""A small classifier, trained here once, on whose features drawn images are held against real ones.

Shapes: B images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import logging
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.data.datasets import Split, Splits, shuffled_batches
from vae.data.pixels import to_pixels
from vae.system import checkpoint
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UserError
from vae.system.files import FileError
from vae.system.stopping import raise_if_stopped

# Test accuracy below which a classifier's features are not trusted; other data sets have no bar, and no measure.
BARS = {"mnist": 0.985, "fashion_mnist": 0.88, "kmnist": 0.90, "digits": 0.95}
BINARY_LOSS = 0.005  # what a class is harder to tell from binary pixels
logger = logging.getLogger(__name__)

WIDTHS, FEATURES = (32, 64), 128
EPOCHS, LEAST_IMAGES, BATCH_SIZE, LR, SMOOTHING = 5, 60_000, 128, 4e-3, 0.1  # small sets are gone through more often
CHUNK = 1000  # images at a time


class ClassifierError(UserError):
    """A classifier that is not good enough to judge images by."""


class Classifier(nn.Module):
    """Two convolutions of stride 2, a layer of features, a linear layer of classes."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        places = math.ceil(height / 4) * math.ceil(width / 4)
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, WIDTHS[0], 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(*WIDTHS, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(WIDTHS[1] * places, FEATURES), nn.ReLU()),
        ).to(memory_format=torch.channels_last)
        self.head = nn.Linear(FEATURES, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to the classes' logits."""
        return self.head(self.body(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """What the last hidden layer makes of images (B, C, H, W) in [0, 1]: (B, FEATURES) on the CPU."""
        return torch.cat([self.body(chunk) for chunk in x.split(CHUNK)]).cpu()

    def features_of(self, images: Tensor) -> Tensor:
        """As `features`, for uint8 images."""
        return torch.cat([self.features(to_pixels(chunk)) for chunk in images.split(CHUNK)])

    @torch.no_grad()
    def accuracy(self, split: Split) -> float:
        """Share of a split's images whose class it names."""
        logits = torch.cat([self(to_pixels(chunk)) for chunk in split.images.split(CHUNK)])
        return (logits.argmax(1) == split.labels).double().mean().item()


def load_or_train(
    splits: Splits,
    *,
    pixels: str,
    folder: Path,
) -> tuple[Classifier, float]:
    """The classifier of these training images, from `folder` or trained and kept there, and its test accuracy.

    Args:
        splits: it learns from `train` and is checked on `test`, however it was come by; of a data set in `BARS`.
        pixels: how they were made binary, for the file's name.
        folder: may be read-only: then nothing is kept.

    Raises:
        ClassifierError: its accuracy is below the data set's bar.
    """
    train, test = splits.train, splits.test
    bar = BARS[splits.name] - (BINARY_LOSS if pixels != "none" else 0)
    path = folder / f"{splits.name}-{splits.image_shape[1]}-{pixels}-{_digest(train)}.pt"
    model = _new(splits)
    if path.exists():
        try:
            model.load_state_dict(checkpoint.read(path))
            if (accuracy := model.eval().accuracy(test)) >= bar:
                return model, accuracy
            logger.info("%s names %.1f%% of the test images: it is trained anew", path, 100 * accuracy)
        except (CheckpointError, RuntimeError, TypeError, AttributeError):
            logger.info("%s is damaged: it is trained anew", path)
    logger.info("training a small classifier of %s, once, to judge samples by ...", splits.title)
    _train(model := _new(splits), train)
    if (accuracy := model.accuracy(test)) < bar:
        raise ClassifierError(f"the classifier names {accuracy:.2%} of the test images, and {bar:.1%} is its bar")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write(path, model.state_dict())
    except (FileError, OSError) as error:
        logger.info("the classifier is not kept: %s", error)
    return model, accuracy


def _digest(train: Split) -> str:
    """Of the recipe and of every image and label."""
    recipe = (WIDTHS, FEATURES, EPOCHS, LEAST_IMAGES, BATCH_SIZE, LR, SMOOTHING)
    digest = hashlib.sha256(f"{recipe} {tuple(train.images.shape)}".encode())
    for tensor in (train.images, train.labels):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _new(splits: Splits) -> Classifier:
    """With weights of seed 0; the caller's random numbers are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(splits.image_shape, len(splits.class_names)).to(splits.train.images.device)


def _train(model: Classifier, train: Split) -> None:
    """AdamW under a one-cycle schedule, batches of seed 0; leaves the model in eval mode."""
    epochs = max(EPOCHS, math.ceil(LEAST_IMAGES / len(train)))
    generator = torch.Generator(train.images.device).manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    steps = epochs * math.ceil(len(train) / BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.2)
    model.train()
    for _ in range(epochs):
        for x, y in shuffled_batches(train, BATCH_SIZE, generator):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y, label_smoothing=SMOOTHING).backward()
            optimizer.step()
            schedule.step()
            raise_if_stopped()
    model.eval()
