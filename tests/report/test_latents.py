from pathlib import Path

import numpy as np
import pytest
import torch
from html_tags import unblob

from vae import VAE
from vae.data.datasets import load_splits
from vae.evaluation.latents import principal_axes
from vae.report import explorer, latents


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits", Path())


def stretched(count, latent_dim):
    """Means that vary by more in earlier latents, none of them around zero, turned at random."""
    generator = torch.Generator().manual_seed(1)
    mu = torch.randn(count, latent_dim, generator=generator) * torch.arange(latent_dim, 0, -1)
    turn, _ = torch.linalg.qr(torch.randn(latent_dim, latent_dim, generator=generator))
    return mu @ turn + 2


@pytest.mark.parametrize("latent_dim", [2, 6])
def test_the_map_holds_the_first_test_images_means_in_16_bits(splits, latent_dim):
    mu = stretched(len(splits.test), latent_dim)
    contents = latents.map_of(mu, torch.randn(50, latent_dim), splits.test, max_points=300)
    z = unblob(contents["z"]) * np.array(contents["step"]) + contents["low"]
    np.testing.assert_allclose(z, mu[:300], atol=0.51 * max(contents["step"]))
    assert max(contents["step"]) < 1e-3 and contents["total"] == len(mu)
    assert unblob(contents["labels"]).tolist() == splits.test.labels[:300].tolist()
    assert contents["pictures"]["count"] == 300
    places = (mu[:300].numpy() - contents["centre"]) @ np.array(contents["axes"]).T
    corner = np.array([contents["left"], contents["bottom"]])
    inside = ((places > corner) & (places < corner + contents["side"])).all(1)
    assert 300 - inside.sum() == contents["outside"] and inside.mean() > 0.98


def test_two_latents_are_the_map_s_axes_themselves(splits):
    contents = latents.map_of(torch.randn(len(splits.test), 2), torch.randn(50, 2), splits.test)
    assert contents["centre"] == [0, 0] and contents["axes"] == [[1, 0], [0, 1]] and contents["titles"] == ("z1", "z2")


def test_the_axes_of_many_latents_are_the_first_right_singular_vectors_of_the_means():
    mu = stretched(200, 6).numpy().astype(np.float64)
    centre, axes, shares = principal_axes(mu)
    _, values, rows = np.linalg.svd(mu - mu.mean(0), full_matrices=False)
    np.testing.assert_allclose(centre, mu.mean(0), rtol=1e-12)
    np.testing.assert_allclose(abs(axes @ rows[:2].T), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(shares, values[:2] ** 2 / (values**2).sum(), rtol=1e-9)
    _, _, titles = latents.plane(torch.from_numpy(mu).float())
    assert titles[0] == f"PC 1, {100 * shares[0]:.0f} % of the variance"


def test_all_latents_of_the_points_together_are_at_most_200_000(splits, monkeypatch):
    monkeypatch.setattr(latents, "MAX_NUMBERS", 1000)
    contents = latents.map_of(torch.randn(len(splits.test), 8), torch.randn(9, 8), splits.test)
    assert contents["z"]["shape"] == [125, 8]


def test_active_latents_come_by_falling_kl(splits):
    mu = torch.randn(50, 4) * torch.tensor([1.0, 0.5, 0.01, 2.0])
    units = latents.active_latents(mu, [0.3, 1.5, 0.2, 0.9])
    assert units == [{"index": 1, "kl": 1.5}, {"index": 3, "kl": 0.9}, {"index": 0, "kl": 0.3}]


@pytest.mark.parametrize(
    ("model", "scale", "has_map"),
    [
        (VAE(1, hidden_dims=(8,)), 1.0, False),
        (VAE(2, hidden_dims=(8,)), 0.0, True),
        (VAE(5, hidden_dims=(8,)), 1.0, True),
        (VAE(5, hidden_dims=(8,)), 0.0, False),  # collapsed
        (VAE(3, hidden_dims=(8,), num_classes=10), 1.0, True),
        (VAE(3, arch="conv", base_channels=2), 1.0, True),
        (VAE(3, arch="conv", base_channels=2, num_classes=10), 1.0, False),  # an image for each class would be too much
    ],
    ids=["one", "two", "five", "collapsed", "conditional", "decoded beforehand", "conditional, decoded beforehand"],
)
def test_two_latents_or_more_have_a_map(splits, model, scale, has_map):
    mu = scale * torch.randn(len(splits.test), model.latent_dim)
    contents = explorer.describe(model.eval(), splits, mu, kl_per_dim=[1.0] * model.latent_dim)
    assert (contents["map"] is not None) == has_map
    if contents["map"] and contents["bank"] and model.latent_dim > 2:  # the bank ends with the images on the map
        points = unblob(contents["map"]["z"]) * np.array(contents["map"]["step"]) + contents["map"]["low"]
        np.testing.assert_allclose(unblob(contents["bank"]["z"])[-len(points) :], points, atol=1e-3)


def test_the_images_to_start_from_are_the_first_of_each_class(splits):
    mu = torch.randn(len(splits.test), 3)
    starts = latents.choose_starts(splits.test, mu, classes=10)
    assert starts.labels.tolist() == [*range(10)] * 4
    first = (splits.test.labels == 7).nonzero()[0].item()
    torch.testing.assert_close(starts.mu[7], mu[first])
