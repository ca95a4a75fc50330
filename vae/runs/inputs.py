"""What a caller names (test images, classes, pictures, the ends of a path) as tensors, or refused in one line.

Shapes: N images, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vae.config.presets import command_line
from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.evaluation.elbo import posterior
from vae.model.sampling import labels_in_turn
from vae.runs.opened import Opened
from vae.system.errors import UsageError

if TYPE_CHECKING:
    from vae.data.own_images import OwnImage

Picture = str | Path | Image.Image
Images = int | Sequence[int] | Split | Tensor | np.ndarray | Picture | Sequence[Picture]


def checked_digits(run: Opened, digits: int | Sequence[int]) -> tuple[int, ...]:
    """One class or several as a tuple, which the data must have and the model know."""
    digits = (digits,) if isinstance(digits, int) else tuple(digits)
    for digit in digits:
        if not 0 <= digit < len(run.class_names):
            classes = f"the classes are 0 to {len(run.class_names) - 1}" if run.class_names else "there are none"
            raise UsageError(f"digit {digit}: {classes}")
    if digits and not run.model.num_classes:
        prior = "standard" if run.config.prior == "vamp" else run.config.prior  # vamp knows no classes
        command = command_line(replace(run.config, conditional=True, prior=prior))
        reason = "this model was trained without classes; train one with them"
        raise UsageError(f"digit {digits[0]}: {reason}: {command}")
    return digits


def label_for(run: Opened, digit: int | None, indices: Sequence[int]) -> Tensor | None:
    """The class (1,) that a conditional model decodes: `digit`, or that of these test images, or the first."""
    y = labels_in_turn(run.model, checked_digits(run, () if digit is None else digit), 1)
    if y is None or digit is not None or not indices:
        return y
    labels = run.test_images(indices).labels
    if len(labels.unique()) > 1:
        names = " and ".join(map(run.name_of, indices))
        raise UsageError(f"{names} have two classes: choose the digit to decode")
    return labels[:1]


def pixels_from(run: Opened, images: Images) -> tuple[Tensor, Tensor | None, Sequence[OwnImage | None]]:
    """Pixels (N, C, H, W) in [0, 1]; labels (N,) of a split's; and what pictures became, `None` if unusable."""
    if isinstance(images, Split):
        return to_pixels(images.images), images.labels, ()
    if isinstance(images, Tensor | np.ndarray):
        from vae.data.own_images import pixels_of  # SciPy comes with it

        if images.ndim == 1:
            return pixels_from(run, images.tolist())
        return pixels_of(images, run.model.image_shape), None, ()
    several: Any = [images] if isinstance(images, Integral | str | Path | Image.Image) else images
    if all(isinstance(image, Integral) for image in several):
        return pixels_from(run, run.test_images(several))
    from vae.data.own_images import prepare_all

    config = run.config
    binary = config.binarize != "none"
    pictures = prepare_all(several, dataset=config.dataset, image_shape=run.model.image_shape, binary=binary)
    return torch.stack([picture.pixels for picture in pictures if picture]), None, pictures


def ends_of(run: Opened, first: int | Tensor | None, last: int | Tensor | None) -> tuple[Tensor, tuple[int, ...]]:
    """Two ends of a path, (2, D), given as latents (D,) or by the indices of test images, which are returned too."""
    shape = (run.model.latent_dim,)
    if isinstance(first, int) and isinstance(last, int):
        return posterior(run.model, run.test_images([first, last]))[0], (first, last)
    if isinstance(first, Tensor) and isinstance(last, Tensor) and first.shape == last.shape == shape:
        return torch.stack([first, last]).to(run.device), ()
    raise UsageError(f"a path has two ends: two indices of test images, or two latents {shape}")


def pair_to_join(labels: Tensor, *, same_class: bool) -> tuple[int, int]:
    """Indices of the first two images of labels (N,) that are of one class, or else of two if there are two."""
    same = same_class or len(labels.unique()) == 1
    for first, label in enumerate(labels):
        candidates = ((labels[first + 1 :] == label) == same).nonzero().flatten()
        if len(candidates):
            return first, first + 1 + int(candidates[0])
    kind = "images of one class" if same_class else "images"
    raise UsageError(f"the test set has no two {kind} to go between: go between random draws")
