"""How near samples are to real images, on the features of a classifier trained here.

The features are this project's own: compare a distance with others of the same data, pixels and classifier, and never
with a published FID or KID.

Shapes: N and M images of two sets, P features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.data.splits import Splits
from vae.evaluation.classifier import BARS, CHUNK, ClassifierError, load_or_train
from vae.model.vae import VAE

SUBSETS, SUBSET_SIZE = 50, 1000
MAX_SAMPLES = 10_000


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to features a (N, P) and b (M, P). Heusel et al. 2017, eq. 6."""
    a, b = a.double(), b.double()
    first, second = torch.atleast_2d(a.T.cov()), torch.atleast_2d(b.T.cov())
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()  # tr (first · second)^(1/2)
    distance = (a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross
    return distance.item()


def squared_mmd(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy, scalar, under the kernel (a·b / P + 1)³. Bińkowski et al. 2018, eq. 4.

    Args:
        a: (N, P), N at least 2.
        b: (M, P), M at least 2.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1).pow(3)

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()


def kernel_distance(a: Tensor, b: Tensor, *, seed: int) -> tuple[float, float]:
    """Mean and standard deviation of `squared_mmd` over random subsets, each at most half of either set."""
    generator = torch.Generator().manual_seed(seed)
    size = min(SUBSET_SIZE, len(a) // 2, len(b) // 2)
    a, b = a.double(), b.double()

    def subset(points: Tensor) -> Tensor:
        return points[torch.randperm(len(points), generator=generator)[:size]]

    values = torch.stack([squared_mmd(subset(a), subset(b)) for _ in range(SUBSETS)])
    return values.mean().item(), values.std().item()


@torch.no_grad()
def draw_samples(model: VAE, labels: Tensor, *, binary: bool, seed: int) -> Tensor:
    """Draw an image per label, (N, C, H, W) in [0, 1]; only a conditional model looks at the labels.

    Args:
        model: on the labels' device, in eval mode.
        labels: (N,).
        binary: draw pixels from p(x|z); otherwise return their means.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws the same
    parts = []
    for y in labels.split(CHUNK):
        if binary:
            z = model.prior.sample(len(y), generator=generator, device=y.device)
            parts.append(model.likelihood.draw(model.logits(z, y), generator=generator))
        else:
            parts.append(model.sample(len(y), y, generator=generator).cpu())
    return torch.cat(parts).to(labels.device)


def sample_scores(model: VAE, splits: Splits, *, pixels: str, seed: int, cache_dir: Path) -> dict[str, Any]:
    """Distances of samples from the training images, beside those of as many real test images.

    Args:
        model: in eval mode, on the splits' device.
        splits: training and test pixels of one kind.
        pixels: how they were made binary: binary draws are compared with them, or pixel means if it is `none`.
        seed: of the draws.
        cache_dir: where the classifier is kept.

    Raises:
        ClassifierError: there are no labels, no accuracy bar for these images, or the classifier is below it.
    """
    if not splits.class_names:
        raise ClassifierError("there are no labels to train a classifier on")
    if splits.name not in BARS:
        raise ClassifierError(f"no accuracy bar is set for a classifier of {splits.title}")
    binary, test = pixels != "none", splits.test
    classifier, accuracy = load_or_train(splits, pixels=pixels, cache_dir=cache_dir)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:MAX_SAMPLES]
    test = test.take(order)
    drawn = classifier.features(draw_samples(model, test.labels, binary=binary, seed=seed))
    real, held_out = (classifier.features_of(split.images) for split in (splits.train, test))
    scale = real.square().mean().sqrt()  # that of the classifier's features, which has no meaning
    scores: dict[str, Any] = {
        "compared": "binary draws with binary images" if binary else "pixel means with grey images",
        "num_samples": len(drawn),
        "seed": seed,
        "classifier_accuracy": accuracy,
    }
    for suffix, features in (("", drawn), ("_floor", held_out)):
        scores[f"frechet{suffix}"] = frechet_distance(features / scale, real / scale)
        mean, std = kernel_distance(features / scale, real / scale, seed=seed)
        scores |= {f"kernel{suffix}": mean, f"kernel{suffix}_std_over_subsets": std}
    return scores
