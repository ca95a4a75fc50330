import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import MAIN, QUICK, load_state, run_main
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from main import main
from vae import load_model
from vae.data.datasets import load_splits
from vae.system import checkpoint
from vae.system.checkpoint import CheckpointError
from vae.training import learner as learner_module

PICTURES = ("reconstructions", "samples", "tsne", "loss_curves", "interpolation", "latent_scatter", "manifold")


def assert_same_state(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def scalars(log_path):
    """A run's TensorBoard events, its files read in the order of their writing.

    TensorBoard sorts them by name: second, host, process and a counter, whose 10 comes before 9. Only tests write ten
    files within one second and one process.
    """

    def written(path):
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

    with tempfile.TemporaryDirectory() as ordered:
        for number, path in enumerate(sorted(log_path.glob("events.out.tfevents.*"), key=written)):
            shutil.copy(path, Path(ordered) / f"events.out.tfevents.{number:03d}")
        sizes = {"scalars": 0, "images": 0, "tensors": 0}
        return EventAccumulator(ordered, size_guidance=sizes).Reload()


def test_a_run_leaves_everything_it_promises(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    names = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    expected = {
        ".lock",
        "config.json",
        "metrics.jsonl",
        "results.json",
        "report.html",
        *(f"{name}.png" for name in PICTURES),
    }
    expected |= {f"checkpoints/{name}.pt" for name in ("last", "best", "epoch_002", "epoch_004")}
    expected |= {f"{kind}/epoch_{n:03d}.png" for kind in ("samples", "reconstructions") for n in (1, 2, 4)}
    assert names == expected
    assert (finished_run / "outputs" / "latest").resolve() == run_dir.resolve()
    for path in run_dir.rglob("*.png"):
        with Image.open(path) as picture:
            assert picture.info["dpi"][0] >= 149 and min(picture.size) > 400


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


def test_config_tells_what_was_run_and_on_what(finished_run):
    stored = json.loads((finished_run / "outputs/whole/config.json").read_text())
    assert stored["config"]["dataset"] == "digits" and stored["config"]["precision"] in ("fp32", "bf16")
    assert stored["versions"]["torch"] == torch.__version__ and stored["device"].startswith("cpu")
    assert stored["seed"] == 0 and "git_commit" in stored


def test_tensorboard_holds_scalars_pictures_projector_and_hparams(finished_run):
    log_path = finished_run / "runs" / "whole"
    tensors = next(log_path.glob("*/*/tensors.tsv")).read_text()
    events = scalars(log_path)
    tags = events.Tags()
    for tag in (
        "train/loss",
        "train/recon",
        "train/kl",
        "train/elbo",
        "test/loss",
        "test/elbo",
        "lr",
        "images_per_second",
    ):
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4]
    for tag in ("samples", "reconstructions"):
        assert tag in tags["images"] and [event.step for event in events.Images(tag)] == [1, 2, 4]
    assert (log_path / "projector_config.pbtxt").read_text().count("embeddings {") == 1
    assert len(next(log_path.glob("*/*/metadata.tsv")).read_text().splitlines()) == 60
    assert list(log_path.glob("*/*/sprite.png"))
    test = load_splits("digits", finished_run).test
    shown = test.take(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:60])
    names = next(log_path.glob("*/*/metadata.tsv")).read_text().split()
    assert names == [str(label) for label in shown.labels.tolist()]
    points = torch.tensor([[float(value) for value in line.split()] for line in tensors.splitlines()])
    mu, _ = load_model(finished_run / "outputs/whole").encode(shown.images / 255)
    torch.testing.assert_close(points, mu.detach(), atol=1e-4, rtol=1e-3)
    assert events.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name == "hparams"


def test_the_checkpoint_has_what_others_rely_on(finished_run):
    state = load_state(finished_run / "outputs" / "whole")
    assert {"model_state", "latent_dim", "config", "epoch", "optimizer_state", "random_state"} <= state.keys()
    assert state["latent_dim"] == 2 and state["epoch"] == 4


def test_two_runs_with_one_seed_are_identical_and_another_seed_differs(tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run_main(tmp_path, "--num_epochs", "2", "--run_name", name, "--seed", seed, "--quiet") == 0
    a, b, c = (load_state(tmp_path / "outputs" / name)["model_state"] for name in "abc")
    assert_same_state(a, b)
    assert not torch.equal(a["encoder.head.weight"], c["encoder.head.weight"])


def test_a_resumed_run_ends_with_the_same_bits(finished_run, tmp_path, monkeypatch, capsys):
    flags = ["--sample_every", "2", "--checkpoint_every", "2", "--val_split", "0.1", "--run_name", "parts"]
    assert run_main(tmp_path, "--num_epochs", "2", *flags) == 0
    monkeypatch.chdir(tmp_path)  # from another working directory
    assert main(["--resume", "outputs/parts", "--num_epochs", "4"]) == 0
    whole, parts = load_state(finished_run / "outputs/whole"), load_state(tmp_path / "outputs/parts")
    assert_same_state(whole["model_state"], parts["model_state"])
    assert torch.equal(whole["random_state"]["generator"], parts["random_state"]["generator"])
    rows = [
        [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_second")} for line in text]
        for text in (
            (root / "metrics.jsonl").read_text().splitlines()
            for root in (finished_run / "outputs/whole", tmp_path / "outputs/parts")
        )
    ]
    assert rows[0] == rows[1]
    assert [event.step for event in scalars(tmp_path / "runs/parts").Scalars("test/loss")] == [1, 2, 3, 4]
    assert "2 of 4 epochs are done" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_and_the_run_resumes_bit_for_bit(
    finished_run, tmp_path, monkeypatch, capsys, number, code
):
    real, epochs = learner_module.train_epoch, []

    def train_epoch(*args, on_batch, **kwargs):
        epochs.append(1)

        def batch(count):
            if len(epochs) == 3:
                os.kill(os.getpid(), number)
            on_batch(count)

        return real(*args, on_batch=batch, **kwargs)

    monkeypatch.setattr(learner_module, "train_epoch", train_epoch)
    before = signal.getsignal(number)
    flags = ["--num_epochs", "4", "--val_split", "0.1", "--run_name", "cut"]
    assert run_main(tmp_path, *flags) == code
    assert signal.getsignal(number) is before
    out = capsys.readouterr().out
    assert "holds epoch 2" in out and f"--resume {tmp_path / 'outputs' / 'cut'}" in out
    assert not (tmp_path / "outputs/cut/results.json").exists()
    monkeypatch.setattr(learner_module, "train_epoch", real)
    assert main(["--resume", str(tmp_path / "outputs/cut")]) == 0
    whole, cut = load_state(finished_run / "outputs/whole"), load_state(tmp_path / "outputs/cut")
    assert_same_state(whole["model_state"], cut["model_state"])
    assert [event.step for event in scalars(tmp_path / "runs/cut").Scalars("test/loss")] == [1, 2, 3, 4]


def test_epochs_that_a_killed_run_recorded_but_did_not_checkpoint_are_not_doubled(tmp_path):
    assert run_main(tmp_path, "--num_epochs", "2", "--run_name", "killed", "--checkpoint_every", "1") == 0
    run_dir = tmp_path / "outputs" / "killed"
    (run_dir / "checkpoints" / "epoch_001.pt").rename(run_dir / "checkpoints" / "last.pt")
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 3, "tra')
    assert main(["--resume", str(run_dir)]) == 0
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [event.step for event in scalars(tmp_path / "runs/killed").Scalars("test/loss")] == [1, 2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lr", "0.1"], "--lr belongs to the run"),
        (["--num_epochs", "3"], "has 4 epochs behind it"),
        (["--run_name", "other"], "--run_name belongs to the run"),
    ],
)
def test_a_flag_that_makes_it_another_run_is_refused_on_resume(finished_run, capsys, flags, message):
    assert main(["--resume", str(finished_run / "outputs/whole"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_resuming_nothing_says_so(tmp_path, capsys):
    assert main(["--resume", str(tmp_path / "no")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["--resume", str(tmp_path / "empty")]) == 1
    assert "no checkpoint at" in capsys.readouterr().err


def test_a_taken_name_is_refused_and_overwrite_is_explicit(tmp_path, capsys):
    flags = ["--num_epochs", "1", "--sample_every", "0", "--run_name", "mine", "--quiet"]
    assert run_main(tmp_path, *flags, "--seed", "1") == 0
    first = load_state(tmp_path / "outputs/mine")["model_state"]["encoder.head.bias"]
    assert run_main(tmp_path, *flags, "--seed", "2") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert torch.equal(first, load_state(tmp_path / "outputs/mine")["model_state"]["encoder.head.bias"])
    assert run_main(tmp_path, *flags, "--seed", "2", "--overwrite") == 0
    assert not torch.equal(first, load_state(tmp_path / "outputs/mine")["model_state"]["encoder.head.bias"])
    (tmp_path / "outputs" / "thesis").mkdir()
    (tmp_path / "outputs" / "thesis" / "chapter1").write_text("precious")
    assert run_main(tmp_path, "--run_name", "thesis", "--overwrite") == 2


def test_unnamed_runs_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    from vae.config import Config
    from vae.runs import folders

    config = Config(output_dir=str(tmp_path / "outputs"), log_dir=str(tmp_path / "runs"))
    frozen = folders.datetime(2030, 1, 2, 3, 4, 5)
    monkeypatch.setattr(folders, "datetime", type("Frozen", (), {"now": staticmethod(lambda: frozen)}))
    names = [folders.create(config).run_dir.name for _ in range(3)]
    assert names == [f"20300102-030405-mlp-512-2d{suffix}" for suffix in ("", "-2", "-3")]


def test_the_screen_in_a_pipe_has_a_line_per_epoch_and_no_control_characters(tmp_path, capsys):
    assert run_main(tmp_path, "--num_epochs", "2") == 0
    out, err = capsys.readouterr()
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 2
    assert "\r" not in out + err and "\x1b" not in out + err and err == ""
    for expected in ("scikit-learn digits", "parameters", "cpu", "tensorboard --logdir", "done:", "tsne.png"):
        assert expected in out


def test_quiet_prints_nothing_but_the_fallback_s_warning(tmp_path, capsys):
    flags = ["--num_epochs", "3", "--batch_size", "32", "--quiet"]
    assert run_main(tmp_path, *flags) == 0
    assert capsys.readouterr() == ("", "")
    assert run_main(tmp_path, *flags, "--dataset", "auto", "--run_name", "fallback") == 0
    out, err = capsys.readouterr()
    assert out == "" and "MNIST is not available" in err and "no network" in err
    stored = json.loads((tmp_path / "outputs/fallback/config.json").read_text())
    assert stored["config"]["dataset"] == "digits" and "no network" in stored["fallback"]
    assert "standing in for MNIST" in stored["dataset"]


def test_an_explicit_mnist_that_cannot_be_had_leaves_no_run(tmp_path, capsys):
    assert run_main(tmp_path, "--dataset", "mnist") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--dataset digits" in err
    assert not (tmp_path / "outputs").exists()


def test_more_latents_draw_no_plane_and_run_on_two_layers(tmp_path):
    assert (
        run_main(tmp_path, "--num_epochs", "1", "--latent_dim", "5", "--hidden_dims", "24", "12", "--run_name", "d5")
        == 0
    )
    assert not (tmp_path / "outputs/d5/manifold.png").exists()
    assert (tmp_path / "outputs/d5/tsne.png").exists()


def test_an_unwritable_place_gets_one_line(tmp_path, capsys):
    (tmp_path / "outputs").write_text("a file")
    assert run_main(tmp_path, "--num_epochs", "1") == 1
    assert "can't make the run's folders" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_named(tmp_path, capsys):
    assert run_main(tmp_path, "--device", "cuda") == 2
    assert "--device cuda: not on this machine, which has cpu" in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["conv-2d", "mlp-64d", "mlp-32d", "mlp-20d"])
def test_every_preset_runs_and_loads_back(tmp_path, preset):
    flags = ["--preset", preset, "--num_epochs", "1", "--base_channels", "4", "--run_name", "p", "--quiet"]
    assert run_main(tmp_path, *flags) == 0
    run_dir = tmp_path / "outputs" / "p"
    assert (run_dir / "interpolation.png").exists() and (run_dir / "samples.png").exists()
    assert (run_dir / "side_by_side.png").exists() == (preset == "mlp-64d")
    assert (run_dir / "checkpoints" / "best.pt").exists() == (preset == "conv-2d")
    assert (run_dir / "checkpoints" / "epoch_001.pt").exists() == (preset == "mlp-32d")
    model, state = load_model(run_dir), load_state(run_dir)
    assert_same_state(model.state_dict(), state["model_state"])
    assert model.sample(2).shape == (2, 1, 28, 28)


def test_a_conditional_run_draws_a_class_a_column_and_loads_back(tmp_path):
    flags = ["--conditional", "--num_epochs", "2", "--run_name", "c", "--quiet", "--batch_size", "32"]
    assert run_main(tmp_path, *flags) == 0
    model = load_model(tmp_path / "outputs/c/checkpoints/last.pt")
    assert model.sample(3, torch.tensor([7, 7, 7])).shape == (3, 1, 28, 28)
    assert (tmp_path / "outputs/c/manifold.png").exists()


@pytest.mark.parametrize(
    "flags",
    [
        [
            "--binarize",
            "dynamic",
            "--lr_schedule",
            "cosine",
            "--lr_warmup_epochs",
            "1",
            "--kl_warmup_epochs",
            "3",
            "--image_size",
            "32",
        ],
        ["--precision", "fp16", "--grad_clip", "1", "--conditional", "--free_bits", "0.1"],
        ["--arch", "conv", "--base_channels", "4", "--recon_loss", "continuous_bernoulli", "--precision", "bf16"],
    ],
    ids=["schedules", "scaler", "conv"],
)
def test_options_resume_with_the_same_bits(tmp_path, monkeypatch, flags):
    assert run_main(tmp_path, "--num_epochs", "3", "--run_name", "whole", "--quiet", *flags) == 0
    real, epochs = learner_module.train_epoch, []

    def train_epoch(*args, **kwargs):
        epochs.append(1)
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(learner_module, "train_epoch", train_epoch)
    assert run_main(tmp_path, "--num_epochs", "3", "--run_name", "cut", "--quiet", *flags) == 143
    assert main(["--resume", str(tmp_path / "outputs/cut"), "--quiet"]) == 0
    whole, cut = (load_state(tmp_path / "outputs" / name) for name in ("whole", "cut"))
    assert_same_state(whole["model_state"], cut["model_state"])
    assert whole["scaler_state"] == cut["scaler_state"]


def test_the_readme_s_interpolation_runs_as_it_stands(tmp_path):
    assert (
        run_main(tmp_path, "--preset", "mlp-32d", "--hidden_dims", "512", "--num_epochs", "2", "--run_name", "r") == 0
    )
    from vae import VAE, interpolate

    checkpoint = torch.load(tmp_path / "outputs/r/checkpoints/epoch_002.pt")
    model = VAE(latent_dim=checkpoint["latent_dim"])
    model.load_state_dict(checkpoint["model_state"])
    with torch.no_grad():
        samples = model.decode(torch.randn(16, 32))
    assert samples.shape == (16, 1, 28, 28) and samples.min() >= 0 and samples.max() <= 1
    assert interpolate(model, torch.randn(1, 32), torch.randn(1, 32), steps=8).shape == (8, 1, 28, 28)


def test_a_collapsed_posterior_is_named_with_its_remedies(tmp_path, capsys):
    assert run_main(tmp_path, "--num_epochs", "2", "--beta", "1000", "--run_name", "flat") == 0
    out, err = capsys.readouterr()
    assert "0 of 2 active" in out and "as minimised" in out
    assert "posterior collapse" in err and "--kl_warmup_epochs" in err


def test_a_run_that_diverges_says_where_and_keeps_its_last_good_checkpoint(tmp_path, capsys):
    assert run_main(tmp_path, "--num_epochs", "2", "--run_name", "wild", "--lr", "1e12", "--batch_size", "16") == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the ") and "in epoch 1, step" in err and "--lr" in err and err.count("\n") == 1
    state = load_state(tmp_path / "outputs/wild")
    assert state["epoch"] == 0 and all(value.isfinite().all() for value in state["model_state"].values())


def test_a_checkpoint_of_another_model_is_told_in_a_line(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    state["config"]["hidden_dims"] = (7,)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x.pt: its weights are not those of a mlp-7-2d"):
        load_model(tmp_path / "x.pt")


def spy_on(monkeypatch, name):
    """Record the keyword arguments of a figure that is drawn."""
    from vae.plots import charts
    from vae.plots import images as figures

    home = charts if hasattr(charts, name) else figures
    calls, real = [], getattr(home, name)
    monkeypatch.setattr(home, name, lambda *args, **kwargs: (calls.append((args, kwargs)), real(*args, **kwargs)))
    return calls


def test_titles_tell_data_epoch_and_protocol_and_the_stand_in(tmp_path, monkeypatch):
    calls = spy_on(monkeypatch, "draw_scatter")
    flags = ["--dataset", "auto", "--num_epochs", "2", "--quiet", "--binarize", "dynamic", "--run_name", "t"]
    assert run_main(tmp_path, *flags) == 0
    for _, kwargs in calls:
        for part in ("standing in for MNIST", "epoch 2", "dynamically binarised", "seed 0"):
            assert part in kwargs["subtitle"]


def test_originals_stand_over_reconstructions_and_the_plane_is_the_right_way_up(tmp_path, monkeypatch):
    shown, planes = spy_on(monkeypatch, "draw_comparison"), spy_on(monkeypatch, "draw_manifold")
    assert run_main(tmp_path, "--num_epochs", "1", "--quiet", "--run_name", "p") == 0
    model = load_model(tmp_path / "outputs/p")
    (_, versions), kwargs = shown[-1]
    originals, reconstructions = versions.values()
    torch.testing.assert_close(reconstructions, model.reconstruct(originals), atol=1e-5, rtol=1e-4)
    assert len(originals) == 30 and kwargs["columns"] == 10
    ((_, (plane,)), _) = planes[0]
    edge = torch.special.ndtri(torch.tensor(0.5 / 20)).item()
    top_left, top_right, bottom_left = (edge, -edge), (-edge, -edge), (edge, edge)
    corners = model.decode(torch.tensor([top_left, top_right, bottom_left]))
    torch.testing.assert_close(plane[[0, 19, 380]], corners.detach(), atol=1e-5, rtol=1e-4)


def test_best_is_chosen_on_validation_and_never_on_test(tmp_path, monkeypatch):
    real, calls = learner_module.evaluate, []

    def evaluate(model, split, *, processes):
        """Validation is best in epoch 2, test in epoch 3; validation comes first in each epoch."""
        calls.append(len(split))
        epoch, which = divmod(len(calls) - 1, 2)
        return real(model, split)._replace(loss=[[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]][which][epoch])

    monkeypatch.setattr(learner_module, "evaluate", evaluate)
    assert run_main(tmp_path, "--num_epochs", "3", "--val_split", "0.1", "--run_name", "b", "--quiet") == 0
    assert load_state(tmp_path / "outputs/b", "best.pt")["epoch"] == 2


def test_latest_moves_to_the_newest_run_and_threads_are_set(tmp_path):
    for name in ("one", "two"):
        assert run_main(tmp_path, "--num_epochs", "1", "--quiet", "--run_name", name, "--threads", "1") == 0
    assert (tmp_path / "outputs/latest").resolve().name == "two"
    assert 'cpu, 1 thread"' in (tmp_path / "outputs/two/config.json").read_text()


def test_overwrite_never_takes_what_is_not_a_run_s(tmp_path, capsys):
    (tmp_path / "runs" / "thesis").mkdir(parents=True)
    (tmp_path / "runs" / "thesis" / "chapter1").write_text("precious")
    assert run_main(tmp_path, "--run_name", "thesis", "--overwrite") == 2
    assert "is no run of ours" in capsys.readouterr().err
    assert (tmp_path / "runs" / "thesis" / "chapter1").read_text() == "precious"


def test_overwrite_knows_a_run_by_what_its_config_says(tmp_path, capsys):
    site = tmp_path / "outputs" / "site"
    site.mkdir(parents=True)
    for name in ("config.json", "index.html"):
        (site / name).write_text("{}")
    assert run_main(tmp_path, "--run_name", "site", "--overwrite") == 2
    assert "is no run of ours" in capsys.readouterr().err
    assert {path.name for path in site.iterdir()} == {"config.json", "index.html"}


def test_the_largest_seed_reaches_the_end(tmp_path):
    assert run_main(tmp_path, "--num_epochs", "1", "--quiet", "--run_name", "s", "--seed", str(2**63 - 1)) == 0
    assert (tmp_path / "outputs/s/results.json").exists()


def test_an_interruption_between_record_and_checkpoint_of_the_first_epoch_doubles_nothing(tmp_path, monkeypatch):
    real = checkpoint.save

    def save(path, state):
        if state["epoch"] == 1:
            raise KeyboardInterrupt
        real(path, state)

    monkeypatch.setattr(checkpoint, "save", save)
    assert run_main(tmp_path, "--num_epochs", "3", "--run_name", "first") == 130
    monkeypatch.setattr(checkpoint, "save", real)
    assert main(["--resume", str(tmp_path / "outputs/first")]) == 0
    events = scalars(tmp_path / "runs/first")
    assert [event.step for event in events.Scalars("test/loss")] == [1, 2, 3]
    assert [event.step for event in events.Images("samples")] == [1, 3]


def test_a_run_behind_a_link_and_one_that_was_moved_keep_their_places(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "disk" / "deep").mkdir(parents=True)
    (home / "outputs").symlink_to("disk/deep")
    monkeypatch.chdir(home)
    places = ["--output_dir", "outputs", "--log_dir", "runs", "--data_dir", "data", "--run_name", "r"]
    assert run_main(home, *places, "--num_epochs", "1", "--quiet") == 0
    assert main(["--resume", "outputs/r", "--num_epochs", "2", "--quiet"]) == 0
    monkeypatch.chdir(tmp_path)
    home.rename(tmp_path / "moved")
    assert main(["--resume", "moved/outputs/r", "--num_epochs", "3", "--quiet"]) == 0
    assert not home.exists()
    assert [event.step for event in scalars(tmp_path / "moved/runs/r").Scalars("lr")] == [1, 2, 3]


def test_going_on_keeps_the_earlier_results_under_another_name_and_quiet_does_not_stick(tmp_path, capsys):
    assert run_main(tmp_path, "--num_epochs", "1", "--run_name", "on", "--quiet") == 0
    run_dir = tmp_path / "outputs/on"
    assert main(["--resume", str(run_dir), "--num_epochs", "2", "--dataset", "digits", "--precision", "auto"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    assert [
        json.loads((run_dir / name).read_text())["epoch"] for name in ("results_epoch_001.json", "results.json")
    ] == [1, 2]


def test_a_run_in_training_is_not_taken_up_by_another_process(finished_run, capsys):
    code = "import sys, time; from vae.system.files import take_lock; from pathlib import Path; "
    code += "lock = take_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, finished_run / "outputs/whole/.lock"], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert main(["--resume", str(finished_run / "outputs/whole")]) == 1
        assert "is being trained by another process" in capsys.readouterr().err
    finally:
        holder.kill()
        holder.communicate()
    assert main(["--resume", str(finished_run / "outputs/whole"), "--quiet"]) == 0  # a dead process holds nothing


def test_a_reader_that_leaves_does_not_end_the_training(tmp_path):
    flags = [
        *QUICK,
        "--num_epochs",
        "30",
        "--sample_every",
        "0",
        "--run_name",
        "pipe",
        "--output_dir",
        "o",
        "--log_dir",
        "l",
    ]
    command = [sys.executable, MAIN, *flags]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and err == ""
    assert (tmp_path / "o/pipe/results.json").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--prior", "flow", "--objective", "iwae", "--num_samples_train", "3", "--ema", "0.9", "--block", "residual"],
        ["--prior", "vamp", "--num_pseudo_inputs", "20", "--objective", "dreg", "--num_samples_train", "2"],
        [
            "--block",
            "gated",
            "--mean_bias",
            "--augment",
            "0.5",
            "--arch",
            "mlp",
            "--ema",
            "0.99",
            "--binarize",
            "dynamic",
        ],
    ],
    ids=["flow", "vamp", "gated"],
)
def test_every_method_trains_draws_and_resumes_bit_for_bit(tmp_path, flags):
    flags = [*flags, "--hidden_dims", "16", "16", "--sample_every", "1"]
    assert run_main(tmp_path, "--run_name", "whole", "--num_epochs", "2", *flags) == 0
    assert run_main(tmp_path, "--run_name", "parts", "--num_epochs", "1", *flags) == 0
    assert main(["--resume", str(tmp_path / "outputs" / "parts"), "--num_epochs", "2"]) == 0
    whole, parts = (load_state(tmp_path / "outputs" / name) for name in ("whole", "parts"))
    for entry in ("model_state", "trained_state"):
        assert whole[entry].keys() == parts[entry].keys()
        assert all(torch.equal(value, parts[entry][name]) for name, value in whole[entry].items())
    assert bool(whole["trained_state"]) == ("--ema" in flags)
    model = load_model(tmp_path / "outputs" / "whole")
    assert model.sample(3).shape == (3, 1, 28, 28)
    assert torch.equal(model.state_dict()["decoder.head.bias"], whole["model_state"]["decoder.head.bias"])
