"""What a run's pictures show and say."""

import dataclasses

import pytest
import torch

from vae.config import Config
from vae.data.datasets import load_splits
from vae.model.vae import VAE
from vae.plots import charts, images
from vae.plots.pictures import Pictures

ROW = {"epoch": 3, "test/elbo": -101.234}


@pytest.fixture
def calls(monkeypatch):
    """What is drawn, by the file's name."""
    drawn = {}
    for owner, name in ((charts, "draw_scatter"), (images, "draw_grid"), (images, "draw_manifold")):
        monkeypatch.setattr(owner, name, lambda path, *args, **options: drawn.update({path.name: (args, options)}))
    return drawn


@pytest.fixture
def draw(tmp_path):
    """Pictures of the digits."""

    def made(**knobs):
        config = Config(dataset="digits", hidden_dims=(8,), **knobs)
        facts = {"protocol": "grey pixels", "prior_is_standard": config.prior == "standard"}
        return Pictures(tmp_path, load_splits("digits", tmp_path), config=config, **facts)

    return made


def test_the_manifold_tells_what_share_of_the_test_images_lies_outside_it(calls, draw):
    mu = torch.zeros(360, 2)
    mu[:36, 0], mu[30:90, 1] = 1.97, -1.97  # beyond the prior's quantiles of 2.5 and 97.5 %
    draw()._draw_manifold(VAE(2, hidden_dims=(8,)), ROW, mu)
    _, options = calls["manifold.png"]
    assert options["subtitle"].endswith("20×20 quantiles of the prior; 25 % of the test images lie outside the picture")
    assert "epoch 3 · test −ELBO 101.23 (grey pixels)" in options["subtitle"]


@pytest.mark.pictures
def test_no_tick_of_the_manifold_is_minus_nought(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(images, "save_figure", lambda figure, path: drawn.append(figure))
    latents = torch.tensor([[-1.0, -1.0], [-0.001, -0.001], [1.0, 1.0]])
    images.draw_manifold(
        tmp_path / "x", [torch.zeros(9, 1, 28, 28)], latents=latents, headings=(), title="t", subtitle="s"
    )
    labels = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
    assert "0.00" in labels and "−0.00" not in labels and labels[0].startswith("−")


@pytest.mark.parametrize(("knobs", "expected"), [({}, "0 → 5"), ({"conditional": True}, "0 → 0")])
def test_interpolations_name_their_ends(calls, draw, knobs, expected):
    model = VAE(2, hidden_dims=(8,), num_classes=10 if knobs else 0)
    draw(**knobs)._draw_interpolation(model, ROW)
    (grid,), options = calls["interpolation.png"]
    assert options["row_labels"][0] == expected and len(options["row_labels"]) * 12 == len(grid)


def one_class(splits, count):
    """The first images of the first class, and nothing else in the test set."""
    return dataclasses.replace(splits, test=splits.test.take((splits.test.labels == 0).nonzero().flatten()[:count]))


def test_images_of_a_single_class_are_joined_with_each_other(calls, tmp_path):
    config, splits = Config(dataset="digits", hidden_dims=(8,)), load_splits("digits", tmp_path)
    pictures = Pictures(tmp_path, one_class(splits, 3), config=config, protocol="grey pixels")
    pictures._draw_interpolation(VAE(2, hidden_dims=(8,)), ROW)
    assert calls["interpolation.png"][1]["row_labels"] == ["0 → 0"]


@pytest.mark.parametrize("conditional", [False, True])
def test_a_log_line_says_why_there_are_no_interpolations(calls, tmp_path, caplog, conditional):
    config = Config(dataset="digits", hidden_dims=(8,), conditional=conditional)
    model = VAE(2, hidden_dims=(8,), num_classes=10 if conditional else 0)
    splits = one_class(load_splits("digits", tmp_path), 1)
    Pictures(tmp_path, splits, config=config, protocol="grey pixels")._draw_interpolation(model, ROW)
    assert not calls and [record.name for record in caplog.records] == ["vae.plots.pictures"]
    assert ("of one class" in caplog.text) == conditional


def test_the_prior_s_circles_are_those_of_a_standard_normal(draw):
    test = draw().splits.test
    for prior in ("standard", "flow"):
        assert draw(prior=prior)._scatter_of(test, torch.zeros(360, 2), ROW)["circles"] == (prior == "standard")


def test_an_epoch_s_sheets_include_the_latent_plane_only_of_two_latents(draw):
    assert draw().draw_epoch(VAE(2, hidden_dims=(8,)), ROW).keys() > {"latent_scatter", "manifold"}
    assert draw(latent_dim=3).draw_epoch(VAE(3, hidden_dims=(8,)), ROW).keys() == {"samples", "reconstructions"}
