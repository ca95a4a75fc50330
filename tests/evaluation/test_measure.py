import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from small_runs import run_main
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vae.data.datasets import load_splits
from vae.data.splits import Split
from vae.evaluation import classifier
from vae.evaluation import measure as measure_module
from vae.evaluation.likelihood import ImageBounds
from vae.evaluation.measure import EvaluationError, evaluate_all, likelihood_scores, likelihood_warnings, num_decoded
from vae.model.vae import VAE
from vae.runs.scorecard import elbo_table, full_table


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A classifier trained for a second, with a bar that it clears."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1000)
    monkeypatch.setitem(classifier.BARS, "digits", 0.2)


def few(splits):
    train, test = splits.train.take(torch.arange(300)), splits.test.take(torch.arange(60))
    return replace(splits, train=train, test=test)


def measured(model, splits, tmp_path, *, binarize="none", samples=20):
    settings = {"binarize": binarize, "num_importance_samples": samples}
    decoded = []
    scores = evaluate_all(model, splits, protocol="p", cache_dir=tmp_path, on_samples=decoded.append, **settings)
    assert sum(decoded) == num_decoded(model, splits, **settings)
    return json.loads(json.dumps(scores, allow_nan=False))


def test_a_grey_model_is_also_scored_on_the_binary_test_images_that_a_dynamic_one_sees(tmp_path):
    model = VAE(2, hidden_dims=(16,))
    grey = measured(model, few(load_splits("digits", tmp_path)), tmp_path)
    binary = measured(model, few(load_splits("digits", tmp_path, binarize="dynamic")), tmp_path, binarize="dynamic")
    assert "test_binarised" not in binary
    assert grey["test_binarised"] == binary["test"] != grey["test"]
    assert any("seed 0" in line for line in grey["caveats"])
    assert grey["samples"]["compared"].startswith("pixel means") and binary["samples"]["compared"].startswith("binary")
    latents = grey["latents"]
    each = latents["mutual_information_per_dim"]
    assert latents["num_latents"] == len(latents["kl_per_dim"]) == len(each) == 2
    shared = latents["total_correlation"]["mean"]
    assert shared == pytest.approx(sum(each) - latents["mutual_information"]["mean"], abs=1e-4)
    for scores in (grey, binary):
        assert scores["test"]["nll"]["mean"] < -scores["test"]["elbo"]["mean"]
        assert all(name == name.strip() and value for name, value in full_table(scores))


@pytest.mark.parametrize("settings", [{"prior": "flow"}, {"prior": "vamp", "num_pseudo_inputs": 5}])
def test_a_learned_prior_is_the_one_that_is_measured(settings, tmp_path):
    """The KL of the ELBO is then a mean over samples, about the sum of its two halves."""
    model = VAE(4, hidden_dims=(16,), prior_width=8, **settings)
    splits = few(load_splits("digits", tmp_path, binarize="threshold"))
    scores = measured(model, splits, tmp_path, binarize="threshold", samples=100)
    halves = scores["latents"]["mutual_information"]["mean"] + scores["latents"]["aggregate_kl"]["mean"]
    assert scores["test"]["kl"]["mean"] == pytest.approx(halves, abs=0.5)
    assert any("no closed form" in line for line in scores["caveats"])


def test_unlabelled_images_are_measured_without_classes(tmp_path):
    splits = few(load_splits("digits", tmp_path))
    train, test = (replace(split, labels=torch.zeros_like(split.labels)) for split in (splits.train, splits.test))
    unlabelled = replace(splits, train=train, test=test, class_names=())
    scores = measured(VAE(2, hidden_dims=(16,), recon_loss="mse"), unlabelled, tmp_path)
    assert "two classes" in scores["latents"]["missing"] and "labels" in scores["samples"]["missing"]
    assert any("448.7 nats of constant" in line for line in scores["caveats"])  # 784 log(pi) / 2
    assert [value for name, value in full_table(scores) if name == "classes"] == [
        "none: kNN and probe: the images have fewer than two classes"
    ]


def test_a_conditional_model_s_figures_say_that_the_class_was_given(tmp_path):
    scores = measured(VAE(2, hidden_dims=(16,), num_classes=10), few(load_splits("digits", tmp_path)), tmp_path)
    assert any("p(x|y)" in line for line in scores["caveats"])


def bounds_of(nll, ess):
    nll = torch.tensor(nll, dtype=torch.float64)
    return ImageBounds(nll, -nll - 2, nll - 10, torch.full_like(nll, 12.0), torch.tensor(ess, dtype=torch.float64))


def test_figures_are_means_with_the_standard_error_of_their_images():
    figures = likelihood_scores(VAE(2, hidden_dims=(4,)), bounds_of([90.0, 94.0, 98.0], [4.0, 8.0, 20.0]), 20)
    assert figures["nll"] == pytest.approx({"mean": 94.0, "se": 4 / math.sqrt(3)})
    assert figures["gap"] == pytest.approx({"mean": 2.0, "se": 0.0})
    assert figures["bits_per_dim"]["mean"] == pytest.approx(94 / 784 / math.log(2))
    assert figures["ess_median"] == 8 and figures["ess_below_least"] == pytest.approx(1 / 3)
    assert figures["nll_bias"] == pytest.approx(((1 / 4 + 1 / 8 + 1 / 20) / 3 - 1 / 20) / 2)


def test_the_bits_of_a_squared_error_count_the_constant_that_its_nats_leave_out():
    model = VAE(2, hidden_dims=(4,), recon_loss="mse")
    figures = likelihood_scores(model, bounds_of([30.0, 30.0], [9.0, 9.0]), 20)
    assert figures["bits_per_dim"]["mean"] == pytest.approx((30 / 784 + math.log(math.pi) / 2) / math.log(2))


def test_too_few_effective_samples_are_warned_about():
    model = VAE(2, hidden_dims=(4,))
    for ess, doubtful in (([4.0, 4.0, 40.0], True), ([50.0, 50.0, 1.0], True), ([50.0, 50.0, 5.0], False)):
        figures = likelihood_scores(model, bounds_of([90.0] * 3, ess), 100)
        lines = likelihood_warnings({"test": figures, "num_importance_samples": 100})
        assert bool(lines) == doubtful
        assert all("raise --num_importance_samples" in line for line in lines)


def test_one_importance_sample_is_named_as_the_elbo():
    figures = likelihood_scores(VAE(2, hidden_dims=(4,)), bounds_of([90.0] * 3, [1.0] * 3), 1)
    (line,) = likelihood_warnings({"test": figures, "num_importance_samples": 1})
    assert "which makes it the ELBO" in line and "too high" not in line


def test_the_kl_of_each_latent_is_named_for_what_it_is_where_the_prior_is_learned():
    scores = {"protocol": "grey", "evaluation": "float32"}
    terms = {"elbo": -91.5, "recon": 90.0, "kl": 1.5, "active_units": 2, "images": 10}
    for each, text in (
        ([1.0, 0.5], "KL of each: 1.00 0.50"),
        ([9.0, 3.0], "KL of each from N(0, 1), which is not the prior: 9.00"),
    ):
        assert text in dict(elbo_table({**scores, "test": {**terms, "kl_per_dim": each}}))["latents"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_bound_of_binary_images_is_spoken_of_only_where_it_is_given(channels, tmp_path):
    splits = few(load_splits("digits", tmp_path))
    pair = {"train": splits.train, "test": splits.test}
    pair = {name: Split(part.images.repeat(1, channels, 1, 1), part.labels) for name, part in pair.items()}
    model = VAE(2, hidden_dims=(4,), image_shape=(channels, 28, 28))
    scores = measured(model, replace(splits, **pair), tmp_path)
    assert ("test_binarised" in scores) is (channels == 1)
    assert any("binarised figures" in line for line in scores["caveats"]) is (channels == 1)


def test_a_model_that_has_diverged_is_refused(tmp_path):
    model = VAE(2, hidden_dims=(4,))
    model.decoder.head.bias.data.fill_(float("nan"))
    with pytest.raises(EvaluationError, match="diverged"):
        measured(model, few(load_splits("digits", tmp_path)), tmp_path)


def test_a_signal_late_in_the_final_evaluation_stops_it_and_keeps_the_training_s_figures(tmp_path, monkeypatch):
    real = measure_module.latent_scores

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(measure_module, "latent_scores", interrupted)
    flags = ("--run_name", "x", "--num_epochs", "1", "--num_importance_samples", "2", "--final_eval")
    assert run_main(tmp_path, *flags) == 143
    scores = json.loads((tmp_path / "outputs/x/results.json").read_text())
    assert "final_eval" not in scores and scores["test"]["elbo"] < 0


def test_a_run_ends_with_the_final_evaluation_and_a_finished_one_gets_it_by_resuming(tmp_path, capsys):
    flags = ["--run_name", "r", "--num_epochs", "1", "--sample_every", "0", "--num_importance_samples", "3"]
    assert run_main(tmp_path, *flags, "--final_eval") == 0
    results = tmp_path / "outputs" / "r" / "results.json"
    first = json.loads(results.read_text())["final_eval"]
    assert first["num_importance_samples"] == 3 and first["images"] == 360
    assert "too few importance samples" in capsys.readouterr().err
    assert len(list((tmp_path / "data" / "classifiers").iterdir())) == 1
    from main import main

    assert main(["--resume", str(tmp_path / "outputs" / "r"), "--num_importance_samples", "5"]) == 0
    again = json.loads(results.read_text())["final_eval"]
    assert again["num_importance_samples"] == 5 and again["samples"] == first["samples"]
    events = EventAccumulator(str(tmp_path / "runs/r/test"))
    events.Reload()
    assert events.Scalars("nll/importance_weighted")[-1].value == pytest.approx(again["test"]["nll"]["mean"], rel=1e-6)


def test_a_figure_that_is_no_number_is_named(tmp_path, monkeypatch):
    broken = {"frechet": math.inf, "kernel": 0.1}
    monkeypatch.setattr("vae.evaluation.measure.sample_scores", lambda *given, **more: broken)
    splits = few(load_splits("digits", tmp_path))
    with pytest.raises(EvaluationError, match="the model's samples frechet is not a finite number"):
        measured(VAE(2, hidden_dims=(8,)), splits, tmp_path)
