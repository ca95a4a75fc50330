"""What the latents carry: information about the image, and its class where a simple classifier finds it in them.

Shapes: N images, M images of another split, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vae.model.losses import gaussian_log_density

PAIRS_AT_ONCE = 4_000_000  # 32 MB of float64
NEIGHBOURS = 5
PROBE_STEPS = 2000


def aggregate_terms(
    mu: Tensor, logvar: Tensor, z: Tensor, log_prior: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The two halves of the KL, one sample of each per image: Hoffman & Johnson 2016, sec. 2.

    The aggregate posterior is that of these N images, q(z) = mean over them of q(z|x), so that the first half's mean,
    the mutual information I(x; z), can't exceed log N. Their sum is a one-sample KL(q(z|x) || p(z)).

    Args:
        mu: (N, D).
        logvar: (N, D).
        z: (N, D), a sample of each image's q(z|x).
        log_prior: log p(z), (N,) for (N, D).

    Returns:
        log q(z|x) - log q(z), and log q(z) - log p(z): (N,) float64 each, nats per image.
    """
    own = gaussian_log_density(z.double(), mu.double(), logvar.double())
    log_q = _log_aggregate(z, mu, logvar)
    return own - log_q, log_q - log_prior(z).double()


def _log_aggregate(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log of the mean over images of q(z|x), (N,) float64: the squares multiplied out, so that it is one product."""
    mu, logvar, z = mu.double(), logvar.double(), z.double()
    precision = torch.exp(-logvar)
    terms = torch.cat([precision, -2 * mu * precision], dim=1).T  # (2D, N)
    constant = (mu.square() * precision + logvar + math.log(2 * math.pi)).sum(1)  # (N,)
    chunks = z.split(max(1, PAIRS_AT_ONCE // len(mu)))
    exponents = (-0.5 * (torch.cat([chunk.square(), chunk], dim=1) @ terms + constant) for chunk in chunks)
    return torch.cat([part.logsumexp(1) for part in exponents]) - math.log(len(mu))


def knn_accuracy(train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor, *, k: int = NEIGHBOURS) -> float:
    """Share of test points whose `k` nearest training points vote for their class; ties go to the lower class.

    Args:
        train: (M, D).
        train_y: (M,) int64.
        test: (N, D).
        test_y: (N,) int64.
        k: number of neighbours, Euclidean.
    """
    centre = train.mean(0)  # small numbers keep the multiplied-out squares exact
    train, test = train - centre, test - centre
    squares, k = train.square().sum(1), min(k, len(train))
    hits = 0
    for points, y in zip(*(t.split(max(1, PAIRS_AT_ONCE // len(train))) for t in (test, test_y)), strict=True):
        nearest = torch.addmm(squares, points, train.T, alpha=-2).topk(k, dim=1, largest=False).indices
        votes = torch.nn.functional.one_hot(train_y[nearest], int(train_y.max()) + 1).sum(1)
        hits += int((votes.argmax(1) == y).sum())
    return hits / len(test)


def probe_accuracy(train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor) -> float:
    """Accuracy of a logistic regression on standardised features, fitted on `train`; arguments as `knn_accuracy`."""
    from sklearn.linear_model import LogisticRegression  # costs a second

    mean, std = train.mean(0), train.std(0).clamp(min=1e-12)
    features, held_out = (((points - mean) / std).cpu().numpy() for points in (train, test))
    probe = LogisticRegression(max_iter=PROBE_STEPS).fit(features, train_y.cpu().numpy())
    return float(probe.score(held_out, test_y.cpu().numpy()))


COLLAPSED = 1e-6  # a standard deviation below which points are one


def tsne(points: np.ndarray, *, seed: int) -> np.ndarray:
    """t-SNE of points (N, D) in the plane, (N, 2). van der Maaten & Hinton 2008."""
    from sklearn.manifold import TSNE  # costs a second, paid at the end of a run

    perplexity = min(30.0, (len(points) - 1) / 3)
    apart = points.shape[1] > 1 and points.std(0).max() > COLLAPSED  # its start is divided by the spread
    init = "pca" if apart else "random"
    return TSNE(perplexity=perplexity, init=init, random_state=seed % 2**32).fit_transform(points)
