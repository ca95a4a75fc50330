"""What the latents carry: information about the image and its class; and maps of them in the plane.

Shapes: N images, M images of another split, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vae.model.losses import gaussian_log_density, gaussian_log_density_per_dim

PAIRS_AT_ONCE = 4_000_000  # 32 MB of float64
MAX_DRAWS = 2000  # at which the densities of single latents are computed: a second for every five of them
NUM_NEIGHBOURS = 5
PROBE_STEPS = 2000
MIN_SPREAD = 1e-6  # points whose standard deviation is below this are treated as one


def aggregate_terms(
    mu: Tensor, logvar: Tensor, z: Tensor, log_prior: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Split a one-sample KL(q(z|x) || p(z)) in two, image by image: Hoffman & Johnson 2016, sec. 2.

    The aggregate posterior q(z) is the mean of q(z|x) over these N images. The mean of the first part is their mutual
    information I(x; z), which therefore can't exceed log N; that of the second is KL(q(z) || p(z)).

    Args:
        mu: (N, D).
        logvar: (N, D).
        z: (N, D), a sample of each image's q(z|x).
        log_prior: log p(z), (N,) for (N, D).

    Returns:
        log q(z|x) - log q(z), and log q(z) - log p(z): (N,) float64 each, nats per image.
    """
    log_posterior = gaussian_log_density(z.double(), mu.double(), logvar.double())
    log_aggregate = _log_aggregate(z, mu, logvar)
    return log_posterior - log_aggregate, log_aggregate - log_prior(z).double()


def _log_aggregate(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log of the mean of q(z|x) over images, (N,) float64; squares are multiplied out, which makes it one product."""
    mu, logvar, z = mu.double(), logvar.double(), z.double()
    precision = torch.exp(-logvar)
    factors = torch.cat([precision, -2 * mu * precision], dim=1).T  # (2D, N)
    constant = (mu.square() * precision + logvar + math.log(2 * math.pi)).sum(1)  # (N,)
    chunks = z.split(max(1, PAIRS_AT_ONCE // len(mu)))
    exponents = (-0.5 * (torch.cat([chunk.square(), chunk], dim=1) @ factors + constant) for chunk in chunks)
    return torch.cat([part.logsumexp(1) for part in exponents]) - math.log(len(mu))


def evenly_spaced(count: int) -> slice:
    """Every k-th of `count` images, at most MAX_DRAWS of them."""
    return slice(None, None, math.ceil(count / MAX_DRAWS))


def information_per_dim(mu: Tensor, logvar: Tensor, z: Tensor, *, rows: slice) -> Tensor:
    """log q(z_d|x) - log q(z_d) of each latent, nats, (rows, D) float32; the means are I(x; z_d), at most log N.

    q(z_d) is the mean of q(z_d|x) over all N images. The sum over latents, less the first of the `aggregate_terms`, is
    log q(z) - sum_d log q(z_d), whose mean is the total correlation: Chen et al. 2018, eq. 2.

    Args:
        mu: (N, D).
        logvar: (N, D).
        z: (N, D), a sample of each image's q(z|x).
        rows: the images at whose samples the densities are computed.
    """
    chunks = z[rows].split(max(1, PAIRS_AT_ONCE // mu.numel()))
    densities = (gaussian_log_density_per_dim(chunk.unsqueeze(1), mu, logvar) for chunk in chunks)  # (..., N, D)
    log_aggregate = torch.cat([part.logsumexp(1) for part in densities]) - math.log(len(mu))
    return gaussian_log_density_per_dim(z[rows], mu[rows], logvar[rows]) - log_aggregate


def knn_accuracy(
    train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor, *, num_neighbours: int = NUM_NEIGHBOURS
) -> float:
    """Share of test points whose nearest training points vote for their class; ties go to the lower class.

    Args:
        train: (M, D).
        train_y: (M,) int64.
        test: (N, D).
        test_y: (N,) int64.
        num_neighbours: how many of the nearest points vote, Euclidean.
    """
    from sklearn.neighbors import KNeighborsClassifier  # importing it takes a second

    classifier = KNeighborsClassifier(min(num_neighbours, len(train))).fit(train.cpu().numpy(), train_y.cpu().numpy())
    return float(classifier.score(test.cpu().numpy(), test_y.cpu().numpy()))


def probe_accuracy(train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor) -> float:
    """Accuracy of a logistic regression on standardised features, fitted on `train`; arguments as `knn_accuracy`."""
    from sklearn.linear_model import LogisticRegression  # importing it takes a second

    mean, std = train.mean(0), train.std(0).clamp(min=1e-12)
    features, test_features = (((points - mean) / std).cpu().numpy() for points in (train, test))
    probe = LogisticRegression(max_iter=PROBE_STEPS).fit(features, train_y.cpu().numpy())
    return float(probe.score(test_features, test_y.cpu().numpy()))


def project_2d(points: np.ndarray, method: str, *, seed: int = 0) -> tuple[np.ndarray, tuple[str, str]]:
    """Project points (N, D) onto the plane, (N, 2), by `tsne` or `pca`; also returns the names of its two axes."""
    if method == "tsne":
        return tsne(points, seed=seed), ("t-SNE 1", "t-SNE 2")
    if points.shape[1] == 1:  # one latent is a line
        points = np.column_stack([points, np.zeros(len(points))])
    if points.std(0).max() < MIN_SPREAD:
        return points[:, :2], ("PC 1", "PC 2")
    centre, axes, shares = principal_axes(points)
    return (points - centre) @ axes.T, axis_titles(shares)


def principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,) of points (N, D), the two orthonormal axes (2, D) of largest variance, and their shares of it (2,)."""
    from sklearn.decomposition import PCA  # importing it takes a second

    pca = PCA(2, svd_solver="full").fit(points.astype(np.float64))
    return pca.mean_, pca.components_, pca.explained_variance_ratio_


def axis_titles(shares: np.ndarray) -> tuple[str, str]:
    """Titles of the two principal axes, from their shares of the variance (2,)."""
    first, second = (f"PC {i}, {100 * share:.0f} % of the variance" for i, share in enumerate(shares, 1))
    return first, second


def tsne(points: np.ndarray, *, seed: int) -> np.ndarray:
    """t-SNE of points (N, D) in the plane, (N, 2). van der Maaten & Hinton 2008."""
    from sklearn.manifold import TSNE  # importing it takes a second

    perplexity = min(30.0, (len(points) - 1) / 3)
    has_spread = points.shape[1] > 1 and points.std(0).max() > MIN_SPREAD  # a start from PCA is divided by it
    init = "pca" if has_spread else "random"
    return TSNE(perplexity=perplexity, init=init, random_state=seed % 2**32).fit_transform(points)
