"""A small classifier, trained here once, on whose features samples are compared with real images.

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

from vae.data.batches import shuffled_batches
from vae.data.pixels import to_pixels
from vae.data.splits import Split, Splits
from vae.system import checkpoint
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UserError
from vae.system.files import FileError
from vae.system.stopping import raise_if_stopped

logger = logging.getLogger(__name__)

# The test accuracy that a classifier must reach for its features to be used; samples of other data sets get no scores.
BARS = {"mnist": 0.985, "fashion_mnist": 0.88, "kmnist": 0.90, "digits": 0.95}
BINARY_LOSS = 0.005  # accuracy that binary pixels may cost

WIDTHS, FEATURES = (32, 64), 128
EPOCHS, LEAST_IMAGES = 5, 60_000  # small data sets take more epochs, so that at least this many images are seen
BATCH_SIZE, LR, SMOOTHING = 128, 4e-3, 0.1
CHUNK = 1000  # images at a time


class ClassifierError(UserError):
    """A classifier that is not accurate enough to judge samples by."""


class Classifier(nn.Module):
    """Two convolutions of stride 2, a layer of features, and a linear layer of classes."""

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
        """The last hidden layer for images (B, C, H, W) in [0, 1]: (B, FEATURES), on the CPU."""
        return torch.cat([self.body(chunk) for chunk in x.split(CHUNK)]).cpu()

    def features_of(self, images: Tensor) -> Tensor:
        """As `features`, for uint8 images."""
        return torch.cat([self.features(to_pixels(chunk)) for chunk in images.split(CHUNK)])

    @torch.no_grad()
    def accuracy(self, split: Split) -> float:
        """Share of a split's images that are classified correctly."""
        logits = torch.cat([self(to_pixels(chunk)) for chunk in split.images.split(CHUNK)])
        return (logits.argmax(1) == split.labels).double().mean().item()


def load_or_train(splits: Splits, *, pixels: str, cache_dir: Path) -> tuple[Classifier, float]:
    """The classifier of these training images, and its test accuracy, from the cache or newly trained.

    Args:
        splits: of a data set in `BARS`; it is trained on `train` and checked on `test`.
        pixels: how they were made binary, for the file's name.
        cache_dir: if it can't be written to, the classifier is not kept.

    Raises:
        ClassifierError: its accuracy is below the data set's bar.
    """
    bar = BARS[splits.name] - (BINARY_LOSS if pixels != "none" else 0)
    path = cache_dir / f"{splits.name}-{splits.image_shape[1]}-{pixels}-{_digest(splits.train)}.pt"
    if path.exists():
        model = _untrained(splits)
        try:
            model.load_state_dict(checkpoint.read(path))
            if (accuracy := model.eval().accuracy(splits.test)) >= bar:
                return model, accuracy
            logger.info("%s has a test accuracy of only %.1f%%: training it anew", path, 100 * accuracy)
        except (CheckpointError, RuntimeError, TypeError):  # no checkpoint, other weights, no dict
            logger.info("%s is damaged: training it anew", path)
    logger.info("training a small classifier of %s, once, to judge samples by ...", splits.title)
    model = _untrained(splits)
    _train(model, splits.train)
    if (accuracy := model.accuracy(splits.test)) < bar:
        raise ClassifierError(f"the classifier's test accuracy is {accuracy:.2%}, below the required {bar:.1%}")
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        checkpoint.write(path, model.state_dict())
    except (FileError, OSError) as error:
        logger.info("the classifier is not kept: %s", error)
    return model, accuracy


def _digest(train: Split) -> str:
    """A digest of the recipe and of all training images and labels."""
    recipe = (WIDTHS, FEATURES, EPOCHS, LEAST_IMAGES, BATCH_SIZE, LR, SMOOTHING)
    digest = hashlib.sha256(f"{recipe} {tuple(train.images.shape)}".encode())
    for tensor in (train.images, train.labels):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _untrained(splits: Splits) -> Classifier:
    """A classifier with weights of seed 0; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier(splits.image_shape, len(splits.class_names)).to(splits.train.device)


def _train(model: Classifier, train: Split) -> None:
    """AdamW with a one-cycle schedule and batches of seed 0; leaves the model in eval mode."""
    epochs = max(EPOCHS, math.ceil(LEAST_IMAGES / len(train)))
    generator = torch.Generator(train.device).manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    steps = epochs * math.ceil(len(train) / BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.2)
    model.train()
    for _ in range(epochs):
        for x, y, _ in shuffled_batches(train, BATCH_SIZE, generator):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y, label_smoothing=SMOOTHING).backward()
            optimizer.step()
            schedule.step()
            raise_if_stopped()
    model.eval()
