import json

import pytest
import torch

from main import main
from vae.evaluation import classifier
from vae.runs import scorecard


def test_the_figures_are_those_that_the_training_ended_with(use, run_dir, tmp_path, capsys):
    assert use("evaluate", run_dir, "--num_importance_samples", 0, "--output", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    results = json.loads((run_dir / "results.json").read_text())
    for split in ("val", "test"):
        for term in ("elbo", "recon", "kl"):
            assert scores[split][term] == pytest.approx(results[split][term], rel=1e-6)
    assert scores["protocol"] == results["protocol"] and scores["test"]["images"] == 360
    screen = capsys.readouterr().out
    assert "grey pixels" in screen and f"{-results['test']['elbo']:.2f} = " in screen and "scores.json" in screen


def test_everything_is_measured_that_final_eval_measures(use, run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1000)
    places = ["--output", tmp_path / "scores.json", "--data_dir", tmp_path]
    assert use("evaluate", run_dir, "--num_importance_samples", 20, *places) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    measured = scores["measured"]
    assert measured["num_importance_samples"] == 20 and measured["protocol"] == scores["protocol"]
    assert -measured["test"]["elbo"]["mean"] == pytest.approx(-scores["test"]["elbo"], rel=0.01)
    assert f"{measured['test']['nll']['mean']:.2f} ± " in capsys.readouterr().out
    assert list((tmp_path / "classifiers").iterdir())


def test_1000_samples_are_the_default_and_the_elbo_stays_when_they_are_interrupted(
    use, run_dir, tmp_path, capsys, monkeypatch
):
    requested = []

    def interrupted(*args, num_importance_samples, **kwargs):
        requested.append(num_importance_samples)
        raise KeyboardInterrupt

    monkeypatch.setattr(scorecard, "evaluate_fully", interrupted)
    assert use("evaluate", run_dir, "--output", tmp_path / "scores.json") == 130
    assert requested == [1000] and "minus the ELBO" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())["test"]["images"] == 360


def test_figures_that_are_not_finite_are_never_written(run_dir, tmp_path, capsys):
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    state["model_state"] = {name: 1e15 * weight for name, weight in state["model_state"].items()}  # overflows
    torch.save(state, tmp_path / "x.pt")
    flags = ["--checkpoint", str(tmp_path / "x.pt"), "--output", str(tmp_path / "scores.json")]
    assert main(["evaluate", "--device", "cpu", *flags]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "finite" in err and err.count("\n") == 1
    assert not (tmp_path / "scores.json").exists()
