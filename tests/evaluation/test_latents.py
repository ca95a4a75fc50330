import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.distributions import Categorical as Weights
from torch.distributions import Independent, MixtureSameFamily, Normal

from vae.evaluation import latents
from vae.evaluation.latents import (
    aggregate_terms,
    evenly_spaced,
    information_per_dim,
    knn_accuracy,
    probe_accuracy,
    project_2d,
)


def standard_normal(z):
    return Normal(0.0, 1.0).log_prob(z).sum(-1)


def draw(mu, logvar):
    return mu + (0.5 * logvar).exp() * torch.randn_like(mu)


def test_images_told_apart_for_sure_give_the_logarithm_of_their_number():
    mu = 100 * torch.arange(50.0).unsqueeze(1).expand(-1, 3)
    logvar = torch.zeros_like(mu)
    information, _ = aggregate_terms(mu, logvar, draw(mu, logvar), standard_normal)
    torch.testing.assert_close(information, torch.full((50,), math.log(50), dtype=torch.float64))


def test_a_posterior_that_is_the_prior_carries_nothing_and_leaves_no_divergence():
    mu = torch.zeros(40, 3)
    for term in aggregate_terms(mu, mu, torch.randn(40, 3), standard_normal):
        torch.testing.assert_close(term, torch.zeros(40, dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_information_of_gaussians_is_the_channel_s_capacity():
    """x ~ N(0, 1) seen through noise of variance v: I = log(1 + 1 / v) / 2, and q(z) = N(0, 1 + v); 4,000 samples."""
    variance, count = 0.25, 4000
    mu = torch.randn(count, 1)
    logvar = torch.full_like(mu, math.log(variance))
    information, aggregate = aggregate_terms(mu, logvar, draw(mu, logvar), standard_normal)
    assert information.mean().item() == pytest.approx(0.5 * math.log(1 + 1 / variance), abs=0.05)
    spread = (1 + variance) ** 0.5
    divergence = torch.distributions.kl_divergence(Normal(0.0, spread), Normal(0.0, 1.0)).item()
    assert aggregate.mean().item() == pytest.approx(divergence, abs=0.06)


def test_the_information_of_single_latents_and_what_they_share_is_that_of_gaussians():
    """Two latents that see x ~ N(0, 1) through noise of variance v; z is Gaussian, with correlation 1 / (1 + v)."""
    variance, count = 0.25, 4000
    mu = torch.randn(count, 1).expand(-1, 2)
    logvar = torch.full_like(mu, math.log(variance))
    z = draw(mu, logvar)
    per_dim = information_per_dim(mu, logvar, z, rows=slice(None))
    assert per_dim.mean(0).tolist() == pytest.approx([0.5 * math.log(1 + 1 / variance)] * 2, abs=0.05)
    shared = per_dim.sum(1) - aggregate_terms(mu, logvar, z, standard_normal)[0]
    assert shared.mean().item() == pytest.approx(-0.5 * math.log(1 - (1 + variance) ** -2), abs=0.05)


def test_a_latent_that_is_the_prior_carries_nothing():
    mu = torch.zeros(40, 2)
    information = information_per_dim(mu, mu, torch.randn(40, 2), rows=slice(None))
    torch.testing.assert_close(information, mu, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (2000, 2000), (2001, 1001), (10_000, 2000)])
def test_the_images_at_which_densities_are_computed_are_few_and_evenly_spaced(count, drawn):
    assert len(range(count)[evenly_spaced(count)]) == drawn


@pytest.mark.parametrize("pairs", [10, 4_000_000])
def test_the_aggregate_posterior_is_the_mixture_of_all_images_whatever_the_chunk(pairs, monkeypatch):
    monkeypatch.setattr(latents, "PAIRS_AT_ONCE", pairs)
    mu, logvar = 3 * torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 4, dtype=torch.float64) - 2
    z = draw(mu, logvar)
    posterior = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    log_q = MixtureSameFamily(Weights(torch.ones(30, dtype=torch.float64)), posterior).log_prob(z)
    information, aggregate = aggregate_terms(mu, logvar, z, standard_normal)
    torch.testing.assert_close(information, posterior.log_prob(z) - log_q)
    torch.testing.assert_close(aggregate, log_q - standard_normal(z))
    per_dim = information_per_dim(mu, logvar, z, rows=slice(1, None, 3))
    for d, column in enumerate(per_dim.T):
        parts = Normal(mu[:, d], (0.5 * logvar[:, d]).exp())
        log_q = MixtureSameFamily(Weights(torch.ones(30, dtype=torch.float64)), parts).log_prob(z[:, d])
        torch.testing.assert_close(column, (parts.log_prob(z[:, d]) - log_q)[1::3])


@pytest.fixture
def clouds():
    """Three classes that overlap, far from the origin."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (700,), generator=generator)
    points = 50 + torch.randn(700, 4, generator=generator) * torch.tensor([1.0, 5.0, 0.2, 1.0]) + y.unsqueeze(1)
    return points[:500], y[:500], points[500:], y[500:]


def test_knn_is_a_majority_of_the_nearest_and_ties_go_to_the_lower_class(clouds):
    train, train_y, test, test_y = clouds
    for count in (1, 4):
        nearest = torch.cdist(test.double(), train.double()).topk(count, largest=False).indices
        votes = torch.nn.functional.one_hot(train_y[nearest], 3).sum(1)
        expected = (votes.argmax(1) == test_y).double().mean().item()
        assert knn_accuracy(*clouds, num_neighbours=count) == pytest.approx(expected)
    assert knn_accuracy(train[:2], train_y[:2], test, test_y) < 1  # fewer points than neighbours


def test_the_probe_is_scikit_learn_s_on_standardised_features(clouds):
    train, train_y, test, test_y = clouds
    scaler = StandardScaler().fit(train)
    expected = LogisticRegression(max_iter=2000).fit(scaler.transform(train), train_y)
    assert probe_accuracy(*clouds) == pytest.approx(expected.score(scaler.transform(test), test_y), abs=0.01)


def test_a_latent_that_never_moves_does_not_harm_the_probe(clouds):
    train, train_y, test, test_y = clouds
    train[:, 3], test[:, 3] = 7, 7
    assert probe_accuracy(train, train_y, test, test_y) > 0.5


def test_pca_keeps_the_directions_of_the_largest_variance():
    points = np.random.default_rng(0).normal(size=(200, 6)) * [3, 2, 1, 0.5, 0.1, 0.1] + 5
    projected, axes = project_2d(points.astype(np.float32), "pca")
    variances, directions = np.linalg.eigh(np.cov(points.T))
    expected = (points - points.mean(0)) @ directions[:, :-3:-1]
    np.testing.assert_allclose(np.abs(projected), np.abs(expected), atol=1e-4)
    first, second = variances[:-3:-1] / variances.sum()
    assert axes == (f"PC 1, {100 * first:.0f} % of the variance", f"PC 2, {100 * second:.0f} % of the variance")


def test_one_latent_collapsed_ones_and_a_single_image_have_a_map_too():
    for points in (np.random.default_rng(0).normal(size=(30, 1)), np.zeros((30, 3)), np.ones((1, 4))):
        projected, axes = project_2d(points.astype(np.float32), "pca")
        assert projected.shape == (len(points), 2) and np.isfinite(projected).all() and len(axes) == 2
