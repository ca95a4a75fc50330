import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from html_tags import unblob

from vae import VAE
from vae.data.datasets import load_splits
from vae.data.pixels import BINARIZE_SEED
from vae.evaluation.elbo import score_images
from vae.model.losses import bernoulli_recon, gaussian_kl
from vae.model.vae import reparameterize
from vae.report import drawing, explorer, nets


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits", Path())


def described(model, splits, binarize="none"):
    return drawing.describe(model.eval(), splits, binarize=binarize)


def test_the_noise_in_the_page_is_what_scores_a_single_image(splits):
    model, x = VAE(3, hidden_dims=(16,)).eval(), splits.test.images[:1] / 255
    noise = torch.from_numpy(unblob(described(model, splits)["noise"]).copy())
    mu, logvar = model.encode(x)
    recon = [bernoulli_recon(model.logits(reparameterize(mu, logvar, eps[None])), x).item() for eps in noise]
    terms = score_images(model, x, samples=drawing.SAMPLES)
    assert np.mean(recon) == pytest.approx(terms.recon.item(), rel=1e-6)
    assert gaussian_kl(mu, logvar).item() == pytest.approx(terms.kl.item(), rel=1e-6)


def test_quantiles_are_those_of_the_test_images_each_given_its_class(splits):
    model = VAE(2, hidden_dims=(16,), num_classes=10).eval()
    quantiles = described(model, splits)["quantiles"]
    scores = -score_images(model, splits.test.images / 255, splits.test.labels, samples=drawing.SAMPLES).elbo
    assert len(quantiles) == 101 and quantiles == sorted(quantiles)
    for level in (0, 25, 97, 100):
        assert quantiles[level] == pytest.approx(np.quantile(scores, level / 100), abs=0.006)


def test_levels_make_pixels_white_as_often_as_they_are_bright(monkeypatch):
    levels = drawing._levels(200_000, "dynamic")
    for value in (0, 51, 128, 255):
        white = (value > levels).double().mean().item()
        assert white == pytest.approx(value / 255, abs=6 * 0.5 / 200_000**0.5)  # six standard deviations
    assert (drawing._levels(9, "threshold") == 127).all()
    monkeypatch.setattr(drawing, "BINARIZE_SEED", BINARIZE_SEED + 1)
    assert (drawing._levels(200_000, "dynamic") != levels).any()


def test_the_default_encoder_takes_at_most_1_1_mb(splits):
    encoder, reason = nets.program(VAE(2).encoder, "encoder")
    assert len(json.dumps(encoder)) < 1.1e6 and not reason


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (VAE(2, arch="conv", base_channels=4), "the decoder is convolutional, which takes a page too long to run"),
        (VAE(2, hidden_dims=(3000, 3000)), "the decoder has 11,364,784 weights, too many"),
        (VAE(2, hidden_dims=(16,), image_shape=(3, 28, 28)), "the images are in colour"),
    ],
)
def test_where_the_page_cant_draw_it_says_why(splits, model, reason):
    contents = explorer.describe(model.eval(), splits, torch.randn(len(splits.test), 2), kl_per_dim=[1.0] * 2)[
        "drawing"
    ]
    assert contents["encoder"] is None and reason in contents["reason"]


def test_an_encoder_too_large_for_the_page_is_left_out(splits, monkeypatch):
    model = VAE(60, hidden_dims=(16,))
    count = sum(parameter.numel() for parameter in model.decoder.parameters())
    monkeypatch.setattr(nets, "MAX_WEIGHTS", count)  # the encoder has a few more
    contents = explorer.describe(model.eval(), splits, torch.randn(len(splits.test), 60), kl_per_dim=[1.0] * 60)
    assert contents["program"] and contents["drawing"]["reason"].startswith("the encoder has 14,600 weights")


def test_a_drawing_is_prepared_as_the_data_set_is(splits):
    model = VAE(2, hidden_dims=(16,))
    digits = described(model, splits)
    assert (digits["box"], digits["mass"], digits["light"], digits["levels"]) == (28, False, False, None)
    assert digits["word"] == "digit" and 4 < digits["pen"] <= 5.6
    mnist = described(model, replace(splits, name="mnist"))
    assert (mnist["box"], mnist["mass"]) == (20, True) and "as MNIST's digits" in mnist["note"]
    photos = splits.map(lambda split: split.convert(lambda images: 255 - images))
    folder = described(model, replace(photos, name="folder", class_names=()))
    assert (folder["box"], folder["light"], folder["word"]) == (None, True, "picture")


def test_examples_are_two_of_each_class_or_spread_over_a_split_without(splits):
    indices = drawing._examples(splits.test)
    assert splits.test.labels[indices].tolist() == [*range(10)] * 2 and len(set(indices.tolist())) == 20
    alone = replace(splits.test, labels=torch.zeros_like(splits.test.labels))
    assert drawing._examples(alone).tolist() == drawing._evenly_spaced(len(alone), 20).tolist()
    few = alone.take(torch.arange(4))
    assert drawing._examples(few).tolist() == [0, 1, 2, 3]
