import logging
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from vae.data.datasets import load_splits
from vae.evaluation import classifier
from vae.evaluation.classifier import Classifier, ClassifierError, load_or_train
from vae.evaluation.samples import draw_samples, frechet_distance, kernel_distance, sample_scores, squared_mmd
from vae.model.vae import VAE


def test_frechet_distance_is_that_of_scipy_s_matrix_root():
    a, b = torch.randn(200, 6, dtype=torch.float64), 2 * torch.rand(300, 6, dtype=torch.float64) + 1
    first, second = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(first + second - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_gaussians_on_a_line_has_its_closed_form():
    a = torch.randn(500, 1, dtype=torch.float64)
    b = 3 * torch.randn(400, 1, dtype=torch.float64) + 2
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected.item())
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_stands_fewer_images_than_features():
    a = torch.randn(5, 20)
    assert frechet_distance(a, a + 1) == pytest.approx(20, rel=1e-5)


def test_squared_mmd_is_the_double_loop_without_the_diagonal():
    a, b = torch.randn(7, 3, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)

    def mean(x, y, same):
        kernels = [(p @ q / 3 + 1) ** 3 for i, p in enumerate(x) for j, q in enumerate(y) if not (same and i == j)]
        return sum(kernels) / len(kernels)

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    torch.testing.assert_close(squared_mmd(a, b), expected)


def test_kernel_distance_is_about_zero_for_two_halves_of_one_set_and_repeatable():
    a, b = torch.randn(2, 800, 3).unbind()
    mean, std = kernel_distance(a, b, seed=0)
    assert abs(mean) < 4 * std < 1
    assert kernel_distance(a, b, seed=0) == (mean, std)
    assert kernel_distance(a, b + 1, seed=0)[0] > 1


def test_samples_are_means_or_binary_draws_and_repeat_with_their_seed():
    model, labels = VAE(2, hidden_dims=(8,), num_classes=3).eval(), torch.tensor([0, 1, 2, 2])
    means = draw_samples(model, labels, binary=False, seed=1)
    assert torch.equal(means, draw_samples(model, labels, binary=False, seed=1))
    assert not torch.equal(means, draw_samples(model, labels.flip(0), binary=False, seed=1))
    drawn = draw_samples(model, labels, binary=True, seed=1)
    assert set(drawn.unique().tolist()) == {0.0, 1.0} and means.unique().numel() > 100


@pytest.fixture
def splits(tmp_path):
    """Few digits: 400 to learn from, 100 to be tested on."""
    whole = load_splits("digits", tmp_path)
    return replace(whole, train=whole.train.take(torch.arange(400)), test=whole.test.take(torch.arange(100)))


@pytest.fixture
def quick(monkeypatch):
    """A classifier trained for a second, with a bar that it clears."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1600)
    monkeypatch.setitem(classifier.BARS, "digits", 0.4)


def test_the_classifier_is_trained_once_and_kept(splits, quick, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    random = torch.get_rng_state()
    first, accuracy = load_or_train(splits, pixels="none", cache_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), random)
    again, repeated = load_or_train(splits, pixels="none", cache_dir=tmp_path)
    assert len(caplog.messages) == 1 and accuracy == repeated == again.accuracy(splits.test)
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    assert len(list(tmp_path.glob("digits-28-none-*.pt"))) == 1


def test_other_images_or_another_recipe_are_another_file(splits, monkeypatch):
    digest = classifier._digest(splits.train)
    assert classifier._digest(splits.train.take(torch.arange(100))) != digest
    monkeypatch.setattr(classifier, "EPOCHS", 99)
    assert classifier._digest(splits.train) != digest


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def damaged(path):
    path.write_bytes(path.read_bytes()[:1000])


def poisoned(path):
    path.write_bytes(pickle.dumps(Trap()))


def poisoned_in_torch_s_format(path):
    torch.save({"head.bias": Trap()}, path)


def untrained(path):
    torch.save(Classifier((1, 28, 28), 10).state_dict(), path)


def of_another_shape(path):
    torch.save(Classifier((1, 8, 8), 10).state_dict(), path)


def no_weights(path):
    torch.save([1, 2], path)


@pytest.mark.parametrize(
    "harm", [damaged, poisoned, poisoned_in_torch_s_format, untrained, of_another_shape, no_weights]
)
def test_a_kept_classifier_that_can_t_be_used_is_trained_anew_and_never_run(
    harm, splits, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    good = {name: torch.zeros_like(value) for name, value in Classifier((1, 28, 28), 10).state_dict().items()}
    monkeypatch.setattr(classifier, "_train", lambda model, train: model.load_state_dict(good))
    monkeypatch.setattr(Classifier, "accuracy", lambda model, test: float(not model.head.bias.any()))
    load_or_train(splits, pixels="none", cache_dir=tmp_path)
    (path,) = tmp_path.glob("digits-*.pt")
    harm(path)
    caplog.clear()
    load_or_train(splits, pixels="none", cache_dir=tmp_path)
    assert len(caplog.messages) == 2 and "training it anew" in caplog.messages[0]
    load_or_train(splits, pixels="none", cache_dir=tmp_path)
    assert len(caplog.messages) == 2  # the good one has taken its place
    assert not (tmp_path / "sprung").exists()


def test_a_poor_classifier_is_refused_and_not_kept(splits, quick, tmp_path, monkeypatch):
    monkeypatch.setitem(classifier.BARS, "digits", 1.01)
    with pytest.raises(ClassifierError, match=r"%, below the required 101.0%"):
        load_or_train(splits, pixels="none", cache_dir=tmp_path)
    assert not list(tmp_path.glob("digits-*"))


def test_a_folder_that_can_t_be_written_costs_the_copy_only(splits, quick, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    load_or_train(splits, pixels="none", cache_dir=tmp_path / "file" / "below")
    assert "not kept" in caplog.messages[-1]


def test_real_images_are_nearer_to_real_ones_than_an_untrained_model_s_samples(splits, quick, tmp_path):
    model = VAE(2, hidden_dims=(8,)).eval()
    scores = sample_scores(model, splits, pixels="none", seed=0, cache_dir=tmp_path)
    assert scores["frechet"] > 5 * scores["frechet_floor"] and scores["kernel"] > 5 * scores["kernel_floor"]
    assert scores["num_samples"] == len(splits.test)


@pytest.mark.parametrize(
    ("change", "reason"), [({"class_names": ()}, "no labels"), ({"name": "folder"}, "no accuracy bar")]
)
def test_images_without_labels_or_a_bar_are_refused_with_the_reason(change, reason, splits, tmp_path):
    with pytest.raises(ClassifierError, match=reason):
        sample_scores(VAE(2), replace(splits, **change), pixels="none", seed=0, cache_dir=tmp_path)
