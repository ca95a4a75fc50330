"""What a run does, prints and leaves in its folder."""

import json
import re

import pytest
import torch
from PIL import Image
from small_runs import assert_same_state, load_state, run_main

from vae import VAE, interpolate, load_model
from vae.training import learner as learner_module

PICTURES = ("reconstructions", "samples", "tsne", "loss_curves", "interpolation", "latent_scatter", "manifold")


def test_a_run_leaves_everything_it_promises(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    names = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    expected = {"config.json", "metrics.jsonl", "results.json", "report.html"}
    expected |= {f"{name}.png" for name in PICTURES}
    expected |= {f"checkpoints/{name}.pt" for name in ("last", "best", "epoch_002", "epoch_004")}
    expected |= {f"{kind}/epoch_{n:03d}.png" for kind in ("samples", "reconstructions") for n in (1, 2, 4)}
    expected |= {f"epochs/epoch_{n:03d}.npz" for n in (1, 2, 4)}
    assert names == expected


@pytest.mark.pictures
def test_a_run_s_pictures_have_150_dpi_and_a_readable_size(tmp_path):
    assert run_main(tmp_path, "--num_epochs", "1", "--run_name", "x", "--quiet") == 0
    paths = list((tmp_path / "outputs/x").rglob("*.png"))
    assert len(paths) == len(PICTURES) + 2
    for path in paths:
        with Image.open(path) as picture:
            assert picture.info["dpi"][0] >= 149 and min(picture.size) > 400, path


def test_metrics_hold_a_line_per_epoch_whose_terms_add_up(finished_run):
    rows = [json.loads(line) for line in (finished_run / "outputs/whole/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        for split in ("train", "val", "test"):
            assert row[f"{split}/loss"] == pytest.approx(row[f"{split}/recon"] + row[f"{split}/kl"])
            assert row[f"{split}/elbo"] == pytest.approx(-row[f"{split}/loss"])
        assert row["seconds"] > 0 and row["images_per_second"] > 0
    assert rows[-1]["test/loss"] < rows[0]["test/loss"]
    results = json.loads((finished_run / "outputs/whole/results.json").read_text())
    assert results["test"]["loss"] == rows[-1]["test/loss"] and results["protocol"] == "grey pixels"
    best = min(rows, key=lambda row: row["val/loss"])
    assert results["best"]["epoch"] == best["epoch"] == load_state(finished_run / "outputs/whole", "best.pt")["epoch"]


def test_config_json_says_what_was_run_and_on_what(finished_run):
    stored = json.loads((finished_run / "outputs/whole/config.json").read_text())
    assert stored["config"]["dataset"] == "digits" and stored["config"]["precision"] in ("fp32", "bf16")
    assert stored["versions"]["torch"] == torch.__version__ and stored["device"].startswith("cpu")
    assert stored["seed"] == 0 and "git_commit" in stored


def test_a_checkpoint_has_the_entries_that_others_rely_on(finished_run):
    state = load_state(finished_run / "outputs" / "whole")
    assert {"model_state", "latent_dim", "config", "epoch", "optimizer_state", "random_state"} <= state.keys()
    assert state["latent_dim"] == 2 and state["epoch"] == 4


def test_two_runs_with_one_seed_are_identical_and_another_seed_differs(tmp_path, no_finish):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run_main(tmp_path, "--num_epochs", "1", "--run_name", name, "--seed", seed, "--quiet") == 0
    a, b, c = (load_state(tmp_path / "outputs" / name)["model_state"] for name in "abc")
    assert_same_state(a, b)
    assert not torch.equal(a["encoder.head.weight"], c["encoder.head.weight"])


def test_the_screen_in_a_pipe_has_a_line_per_epoch_and_no_control_characters(tmp_path, capsys):
    assert run_main(tmp_path, "--num_epochs", "2") == 0
    out, err = capsys.readouterr()
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 2
    assert "\r" not in out + err and "\x1b" not in out + err and err == ""
    for expected in ("scikit-learn digits", "parameters", "cpu", "tensorboard --logdir", "done:", "tsne.png"):
        assert expected in out
    assert re.search(r"report +\S*/report\.html", out)


def spy_on(monkeypatch, name):
    """Record the arguments of a figure that is drawn."""
    from vae.plots import charts, images

    module = charts if hasattr(charts, name) else images
    calls, real = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: (calls.append((args, kwargs)), real(*args, **kwargs)))
    return calls


@pytest.mark.usefixtures("no_finish")
def test_an_epoch_several_times_slower_is_remarked_on_once_until_it_is_fast_again(tmp_path, monkeypatch, capsys):
    seconds = iter([2.0, 2.1, 25.8, 26.0, 2.0, 5.9, 6.1])
    learn = learner_module.Learner.learn
    monkeypatch.setattr(
        learner_module.Learner, "learn", lambda self, on_batch: learn(self, on_batch) | {"seconds": next(seconds)}
    )
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert run_main(tmp_path, "--num_epochs", "7", "--run_name", "x", "--sample_every", "0") == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: this epoch took")]
    assert [re.findall(r"[0-9.]+ s", note) for note in notes] == [["25.8 s", "2.0 s"], ["6.1 s", "2.0 s"]]
    assert all(note.endswith("--resume " + str(tmp_path / "outputs/x") + " --threads 1 may help.") for note in notes)


def test_a_run_on_digits_in_place_of_mnist_says_so_everywhere_even_when_quiet(tmp_path, monkeypatch, capsys):
    scatters = spy_on(monkeypatch, "draw_scatter")
    flags = ["--num_epochs", "2", "--batch_size", "32", "--quiet", "--binarize", "dynamic", "--run_name", "fallback"]
    assert run_main(tmp_path, *flags, "--dataset", "auto") == 0
    out, err = capsys.readouterr()
    assert out == "" and "MNIST is not available" in err and "no network" in err
    assert all(line.startswith("!!") for line in err.splitlines()) and len(re.findall("!{78}", err)) == 2
    stored = json.loads((tmp_path / "outputs/fallback/config.json").read_text())
    assert stored["config"]["dataset"] == "digits" and "no network" in stored["fallback"]
    assert "standing in for MNIST" in stored["dataset"]
    assert len(scatters) == 2
    for _, kwargs in scatters:
        for part in ("standing in for MNIST", "epoch 2", "dynamically binarised", "seed 0"):
            assert part in kwargs["subtitle"]


def test_an_explicit_mnist_that_is_not_available_leaves_no_run(tmp_path, capsys):
    assert run_main(tmp_path, "--dataset", "mnist") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--dataset digits" in err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_named(tmp_path, capsys):
    assert run_main(tmp_path, "--device", "cuda") == 2
    assert "--device cuda: not on this machine, which has cpu" in capsys.readouterr().err


@pytest.mark.figures
@pytest.mark.parametrize("preset", ["conv-2d", "mlp-64d", "mlp-32d"])
def test_presets_run_and_load_back(tmp_path, preset):
    flags = ["--preset", preset, "--num_epochs", "1", "--base_channels", "4", "--run_name", "p", "--quiet"]
    assert run_main(tmp_path, *flags) == 0
    run_dir = tmp_path / "outputs" / "p"
    assert (run_dir / "interpolation.png").exists() and (run_dir / "samples.png").exists()
    assert (run_dir / "manifold.png").exists() == (preset == "conv-2d")  # the others have more than two latents
    assert (run_dir / "side_by_side.png").exists() == (preset == "mlp-64d")
    assert (run_dir / "checkpoints" / "best.pt").exists() == (preset == "conv-2d")
    assert (run_dir / "checkpoints" / "epoch_001.pt").exists() == (preset == "mlp-32d")
    model, state = load_model(run_dir), load_state(run_dir)
    assert_same_state(model.state_dict(), state["model_state"])
    assert model.sample(2).shape == (2, 1, 28, 28)


@pytest.mark.figures
@pytest.mark.parametrize(
    "flags",
    [
        ["--prior", "flow", "--prior_width", "16", "--objective", "iwae", "--num_samples_train", "2", "--conditional"],
        ["--prior", "vamp", "--num_pseudo_inputs", "20", "--block", "residual"],
    ],
    ids=lambda flags: flags[-1],
)
def test_conditional_models_and_learned_priors_draw_the_latent_plane(tmp_path, flags):
    assert run_main(tmp_path, *flags, "--num_epochs", "1", "--run_name", "c", "--quiet") == 0
    model = load_model(tmp_path / "outputs/c/checkpoints/last.pt")
    labels = torch.tensor([7, 7, 7]) if "--conditional" in flags else None
    assert model.sample(3, labels).shape == (3, 1, 28, 28)
    assert (tmp_path / "outputs/c/manifold.png").exists()


def test_a_checkpoint_s_weights_fit_a_plain_vae_of_its_latent_dim(tmp_path, no_finish):
    flags = ["--preset", "mlp-32d", "--hidden_dims", "512", "--sample_every", "0", "--num_epochs", "1"]
    assert run_main(tmp_path, *flags, "--run_name", "r") == 0
    checkpoint = torch.load(tmp_path / "outputs/r/checkpoints/epoch_001.pt")
    model = VAE(latent_dim=checkpoint["latent_dim"])
    model.load_state_dict(checkpoint["model_state"])
    with torch.no_grad():
        samples = model.decode(torch.randn(16, 32))
    assert samples.shape == (16, 1, 28, 28) and samples.min() >= 0 and samples.max() <= 1
    assert interpolate(model, torch.randn(1, 32), torch.randn(1, 32), steps=8).shape == (8, 1, 28, 28)


def test_a_collapsed_posterior_is_named_with_its_remedies(tmp_path, capsys):
    largest = str(2**63 - 1)  # seed, which every generator takes
    assert run_main(tmp_path, "--num_epochs", "1", "--beta", "1000", "--run_name", "flat", "--seed", largest) == 0
    out, err = capsys.readouterr()
    assert "0 of 2 active" in out and "as minimised" in out
    assert "posterior collapse" in err and "--kl_warmup_epochs" in err


def test_originals_stand_over_reconstructions_and_the_plane_is_the_right_way_up(tmp_path, monkeypatch):
    comparisons, planes = spy_on(monkeypatch, "draw_comparison"), spy_on(monkeypatch, "draw_manifold")
    assert run_main(tmp_path, "--num_epochs", "1", "--quiet", "--run_name", "p") == 0
    model = load_model(tmp_path / "outputs/p")
    (_, versions), kwargs = comparisons[-1]
    originals, reconstructions = versions.values()
    torch.testing.assert_close(reconstructions, model.reconstruct(originals), atol=1e-5, rtol=1e-4)
    assert len(originals) == 30 and kwargs["columns"] == 10
    ((_, (plane,)), _) = planes[0]
    edge = torch.special.ndtri(torch.tensor(0.5 / 20)).item()
    top_left, top_right, bottom_left = (edge, -edge), (-edge, -edge), (edge, edge)
    corners = model.decode(torch.tensor([top_left, top_right, bottom_left]))
    torch.testing.assert_close(plane[[0, 19, 380]], corners.detach(), atol=1e-5, rtol=1e-4)


def test_best_is_chosen_on_validation_and_never_on_test(tmp_path, monkeypatch, no_finish):
    real, calls = learner_module.evaluate, []

    def evaluate(model, split, *, processes):
        """Validation is best in epoch 2, test in epoch 3; validation comes first in each epoch."""
        calls.append(len(split))
        epoch, which = divmod(len(calls) - 1, 2)
        return real(model, split)._replace(recon=[[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]][which][epoch], kl=0.0)

    monkeypatch.setattr(learner_module, "evaluate", evaluate)
    assert run_main(tmp_path, "--num_epochs", "3", "--val_split", "0.1", "--run_name", "b", "--quiet") == 0
    assert load_state(tmp_path / "outputs/b", "best.pt")["epoch"] == 2
