"""A run's end: what fails there leaves the rest its turn."""

import json
import os
import signal

import pytest
import torch
from small_runs import load_state, run_main

from main import main
from vae.plots import charts, pictures
from vae.runs import finish as finish_module
from vae.system.errors import UserError

FLAGS = ["--num_epochs", "1", "--sample_every", "0", "--run_name", "x", "--quiet"]


def raising(error):
    def draw(*args, **options):
        raise error

    return draw


def test_a_closing_picture_that_fails_keeps_its_traceback_and_leaves_figures_and_report(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(charts, "draw_loss_curves", raising(ZeroDivisionError("a bug")))
        patch.setattr(pictures, "tsne", raising(ModuleNotFoundError("no sklearn")))
        patch.setattr(pictures.figures, "draw_manifold", raising(UserError("no picture of these")))
        with pytest.raises(
            ExceptionGroup, match=r"lacks loss_curves.png, manifold.png, tsne.png; .*--resume"
        ) as caught:
            run_main(tmp_path, *FLAGS)
    run_dir = tmp_path / "outputs/x"
    kinds = [type(error) for error in caught.value.exceptions]
    assert kinds == [ZeroDivisionError, UserError, ModuleNotFoundError] and caught.value.exceptions[0].__traceback__
    assert json.loads((run_dir / "results.json").read_text())["epoch"] == 1 and (run_dir / "report.html").exists()
    names = {path.stem for path in run_dir.glob("*.png")}
    assert names == {"samples", "reconstructions", "interpolation", "latent_scatter"}
    assert main(["--resume", str(run_dir), "--quiet"]) == 0
    assert (run_dir / "tsne.png").exists() and (run_dir / "loss_curves.png").exists()


REFUSED = [(UserError("no picture"), "no picture"), (MemoryError(), "out of memory"), (OSError("no disk"), "no disk")]


@pytest.mark.parametrize(("error", "reason"), REFUSED)
def test_a_closing_picture_that_is_refused_is_named_in_one_line_and_leaves_figures_and_report(
    tmp_path, monkeypatch, capsys, error, reason
):
    monkeypatch.setattr(pictures, "tsne", raising(error))
    assert run_main(tmp_path, *FLAGS) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: the run's end lacks tsne.png: {reason}; make it anew with  ")
    assert line.endswith("outputs/x") and "--resume" in line
    assert (tmp_path / "outputs/x/results.json").exists() and (tmp_path / "outputs/x/report.html").exists()


def test_a_signal_at_the_end_stops_it_before_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(finish_module, "posterior", _then_interrupted(finish_module.posterior))
    assert run_main(tmp_path, *FLAGS) == 130
    assert not list((tmp_path / "outputs/x").glob("*.png")) and not (tmp_path / "outputs/x/results.json").exists()
    assert load_state(tmp_path / "outputs/x")["epoch"] == 1


def _then_interrupted(function):
    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return function(*args)

    return interrupted


def test_weights_that_make_latents_too_large_get_one_line_in_place_of_pictures(tmp_path, capsys):
    assert run_main(tmp_path, *FLAGS) == 0
    capsys.readouterr()
    run_dir = tmp_path / "outputs/x"
    state = load_state(run_dir)
    for factor in (1e17, 1e38):
        weights = {name: torch.full_like(value, factor) for name, value in state["model_state"].items()}
        torch.save({**state, "model_state": weights}, run_dir / "checkpoints/last.pt")
        for line in (["--resume", str(run_dir)], *([name, "--run", str(run_dir)] for name in ("report", "sample"))):
            if factor == 1e17 and "sample" in line:  # decoded to white, which is a picture
                continue
            assert main([*line, "--quiet", "--device", "cpu"]) == 1
            err = capsys.readouterr().err
            assert "is useless" in err and err.count("\n") == 1, err


def test_a_seed_s_picture_that_failed_is_made_anew(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "tsne", raising(UserError("no picture")))
        assert run_main(tmp_path, *FLAGS, "--seeds", "0", "1") == 1
    run_dir = tmp_path / "outputs/x"
    assert (run_dir / "seed-0/results.json").exists() and not (run_dir / "seed-0/tsne.png").exists()
    assert main(["--resume", str(run_dir), "--quiet"]) == 0
    assert (run_dir / "seed-0/tsne.png").exists() and not (run_dir / "seed-0/stopped.txt").exists()
