"""What the report needs to encode and score a drawing: how it is prepared, the encoder, and what test images score.

Shapes: N images, P pixels of an image, S draws of z, D latent_dim, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae.config.fields import OWN
from vae.data.ink import BOX, SIDE, stroke_width
from vae.data.pixels import BINARIZE_SEED, to_pixels
from vae.data.splits import Split, Splits
from vae.evaluation.elbo import EVAL_SEED, score_images
from vae.model.vae import VAE
from vae.report import nets
from vae.report.nets import blob

WORDS = {"mnist": "digit", "digits": "digit", "fashion_mnist": "piece of clothing", "kmnist": "character"}
SAMPLES = 8  # draws of z for a score: a single one moves it by some 2.5 nats, the mean of 8 by less than one
SCORED = 1000  # test images, evenly spaced: the share of them that a score exceeds is right to 2 percentage points
EXAMPLES = 20  # test images that can be put on the canvas
WIDEST = 0.2  # of the image's side: the widest pen, for images of things rather than strokes


def describe(model: VAE, splits: Splits, *, binarize: str, reason: str = "") -> dict[str, Any]:
    """Everything that drawing needs, as plain values for JSON; `encoder` is `None` where there is a `reason`.

    Args:
        model: in eval mode.
        splits: the data; a drawing is prepared and scored as its test split was.
        binarize: the value of `--binarize` in training.
        reason: why the page can't run the decoder; empty if it can.
    """
    channels, height, width = model.image_shape
    encoder, prior = None, None
    if channels != 1 or height != width:
        reason = f"the images are {'not square' if channels == 1 else 'in colour'}"
    elif not reason:
        encoder, reason = nets.program(model.encoder, "encoder")
    if not reason:
        prior, reason = nets.program(model.prior, "prior")
    contents = {"word": WORDS.get(splits.name, "picture"), "reason": reason, "encoder": None if reason else encoder}
    if reason:
        return contents
    scored = splits.test.take(_evenly_spaced(len(splits.test), SCORED))
    examples = splits.test.take(_examples(splits.test))
    return contents | {
        "note": _note(splits.name, binarize, conditional=bool(model.num_classes), scored=len(scored)),
        "prior": prior,
        "likelihood": model.likelihood.name,
        "box": None if splits.name in OWN else width * BOX // SIDE if splits.name == "mnist" else width,
        "mass": splits.name == "mnist",
        "light": _edges(scored.images).float().mean().item() > 127.5,
        "pen": min(stroke_width(scored.images[:, 0].cpu().numpy()), WIDEST * width),
        "levels": None if binarize == "none" else blob(_levels(height * width, binarize), "uint8"),
        "noise": blob(_noise(model.latent_dim), "float32"),
        "quantiles": _quantiles(model, scored),
        "examples": blob(examples.images, "uint8"),
        "labels": examples.labels.tolist(),
    }


def _note(dataset: str, binarize: str, *, conditional: bool, scored: int) -> str:
    """What is done to a drawing, and how it is scored."""
    placed = {"mnist": "Centred and scaled as MNIST's digits were", **dict.fromkeys(OWN, "Scaled to the images' size")}
    prepared = placed.get(dataset, "Scaled to fill the image")
    drawn = ", made black and white by a fixed draw, as the test images were"
    prepared += {"none": "", "threshold": ", then rounded to black and white"}.get(binarize, drawn)
    classes = ", each given its class" if conditional else ""
    return f"{prepared}. Scores are means over {SAMPLES} draws of z, like those of {scored:,} test images{classes}."


def _evenly_spaced(total: int, count: int) -> Tensor:
    """Indices of at most `count` of `total` images; MNIST's test set begins with its easier half."""
    return torch.linspace(0, total - 1, min(count, total)).long()


def _examples(test: Split) -> Tensor:
    """Indices of the first and the last image of each class, or of images anywhere in a split of one class or many."""
    labels = test.labels.cpu()
    classes = labels.unique()
    if not 1 < len(classes) <= EXAMPLES // 2:
        return _evenly_spaced(len(test), EXAMPLES)
    first, second = zip(*((labels == label).nonzero().flatten()[[0, -1]] for label in classes), strict=True)
    return torch.stack([*first, *second])


def _edges(images: Tensor) -> Tensor:
    """The outermost pixels of images (N, 1, H, W), in a row."""
    return torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], dim=-1)


def _levels(pixels: int, binarize: str) -> Tensor:
    """A level for each pixel, (P,): what is above it becomes white. Fixed draws for b ~ Bernoulli(x), or one half."""
    if binarize == "threshold":
        return torch.full((pixels,), 127)
    return torch.randint(255, (pixels,), generator=torch.Generator().manual_seed(BINARIZE_SEED))


def _noise(latent_dim: int) -> Tensor:
    """The noise of each draw of z, (S, D): what `score_images` draws for a single image."""
    generator = torch.Generator().manual_seed(EVAL_SEED)
    return torch.cat([torch.randn(1, latent_dim, generator=generator) for _ in range(SAMPLES)])


def _quantiles(model: VAE, test: Split) -> list[float]:
    """Minus the ELBO that 0, 1, … 100 % of the test images stay below, nats; given the class if conditional."""
    scores = -score_images(model, to_pixels(test.images), test.labels, samples=SAMPLES).elbo
    return [round(score, 2) for score in torch.quantile(scores, torch.linspace(0, 1, 101).double()).tolist()]
