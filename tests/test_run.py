import json
import os
import signal

import pytest
import torch
from conftest import load_state, run_main
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from main import main
from vae import load_model
from vae import run as run_module
from vae.checkpoint import CheckpointError

PICTURES = ("reconstructions", "samples", "tsne", "loss_curves", "interpolation", "latent_scatter", "manifold")


def assert_same_state(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def scalars(log_path):
    events = EventAccumulator(str(log_path), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def test_a_run_leaves_everything_it_promises(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    names = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    expected = {"config.json", "metrics.jsonl", "results.json", *(f"{name}.png" for name in PICTURES)}
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
    real, epochs = run_module.train_epoch, []

    def train_epoch(*args, on_batch, **kwargs):
        epochs.append(1)

        def batch(count):
            if len(epochs) == 3:
                os.kill(os.getpid(), number)
            on_batch(count)

        return real(*args, on_batch=batch, **kwargs)

    monkeypatch.setattr(run_module, "train_epoch", train_epoch)
    before = signal.getsignal(number)
    flags = ["--num_epochs", "4", "--val_split", "0.1", "--run_name", "cut"]
    assert run_main(tmp_path, *flags) == code
    assert signal.getsignal(number) is before
    out = capsys.readouterr().out
    assert "holds epoch 2" in out and f"--resume {tmp_path / 'outputs' / 'cut'}" in out
    assert not (tmp_path / "outputs/cut/results.json").exists()
    monkeypatch.setattr(run_module, "train_epoch", real)
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
    assert run_main(tmp_path, "--run_name", "thesis", "--overwrite") == 2


def test_unnamed_runs_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    from vae import folders
    from vae.config import Config

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
    assert out == "" and "MNIST can't be had" in err and "no network" in err
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
        ["--binarize", "dynamic", "--lr_schedule", "cosine", "--lr_warmup_epochs", "1", "--kl_warmup_epochs", "3"],
        ["--precision", "fp16", "--grad_clip", "1", "--conditional", "--free_bits", "0.1"],
        ["--arch", "conv", "--base_channels", "4", "--recon_loss", "continuous_bernoulli", "--precision", "bf16"],
    ],
    ids=["schedules", "scaler", "conv"],
)
def test_options_resume_with_the_same_bits(tmp_path, monkeypatch, flags):
    assert run_main(tmp_path, "--num_epochs", "3", "--run_name", "whole", "--quiet", *flags) == 0
    real, epochs = run_module.train_epoch, []

    def train_epoch(*args, **kwargs):
        epochs.append(1)
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(run_module, "train_epoch", train_epoch)
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
    assert "0 of 2 active" in out and "Posterior collapse" in err and "--kl_warmup_epochs" in err


def test_a_checkpoint_of_another_model_is_told_in_a_line(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    state["config"]["hidden_dims"] = (7,)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x.pt: its weights are not those of a mlp-7-2d"):
        load_model(tmp_path / "x.pt")
