"""`fit`, and runs with nets of one's own: trained, resumed, opened again, and never run unasked."""

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import QUICK, assert_same_state, load_state
from torch import nn

from main import main
from vae import VAE, fit, load_model, open_run
from vae.config import Config
from vae.data import load_splits
from vae.data.errors import DataError
from vae.runs.fit import _data
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UsageError
from vae.training.learner import Learner

KNOBS = {"batch_size": 64, "tsne_samples": 20, "device": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A hundred and fifty digits."""
    digits = load_splits("digits", tmp_path_factory.mktemp("data"))
    first = torch.arange(150)
    return dataclasses.replace(digits, train=digits.train.take(first), test=digits.test.take(first[:50]))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(config, *, image_shape, num_classes):
    """A decoder with batch norm, dropout and a layer that isn't used; a frozen encoder."""

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
            self.head, self.unused = nn.Linear(16, 784), nn.Linear(2, 2)

        def forward(self, z, y=None):
            return self.head(self.body(z)).unflatten(1, image_shape)

    model = VAE(config.latent_dim, decoder=Decoder(), hidden_dims=(8,), image_shape=image_shape)
    model.encoder.body.requires_grad_(False)
    return model


@pytest.mark.slow
def test_a_resumed_fit_of_own_nets_and_data_ends_with_the_weights_of_an_unbroken_one(few, monkeypatch):
    knobs = {**KNOBS, "ema": 0.9, "checkpoint_every": 1}
    whole = fit(make, few, num_epochs=3, run_name="whole", **knobs)
    learn, calls = Learner.learn, []

    def interrupted(learner, on_batch):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return learn(learner, on_batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(make, few, num_epochs=3, run_name="broken", **knobs)
    again = fit(make, few, resume="auto", num_epochs=3, run_name="broken", **knobs)
    for entry in ("model_state", "trained_state"):
        assert_same_state(load_state(whole.run_dir)[entry], load_state(again.run_dir)[entry])
    assert again.epoch == 3 and again.splits.test.images.shape == (50, 1, 28, 28)
    averaged = load_state(whole.run_dir)["model_state"]
    assert averaged["decoder.body.1.num_batches_tracked"] == 9  # the average's batch norm follows too


def test_a_model_given_is_trained_from_its_weights_and_not_changed_in_any_thread(few, capfd):
    model = VAE(3, hidden_dims=(8,), prior="flow", num_couplings=2, prior_width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    runs = []
    knobs = {**KNOBS, "lr": 1e-9, "weight_decay": 0.0}
    thread = threading.Thread(target=lambda: runs.append(fit(model, few, num_epochs=1, **knobs)))
    thread.start()
    thread.join()
    run = runs[0]
    assert not capfd.readouterr().out  # stderr has the warning of a collapse
    assert_same_state(before, model.state_dict())
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-6, rtol=0)
    assert (run.config.latent_dim, run.config.hidden_dims, run.config.prior) == (3, (8,), "flow")
    assert load_model(run.run_dir).latent_dim == 3  # all of it is built in: no nets are asked for
    with pytest.raises(DataError, match="--data_dir; if the images were given in Python, open_run"):
        _ = open_run(run.run_dir).splits
    assert len(open_run(run.run_dir, data=few).splits.train) == 150


def test_arrays_and_files_are_data_too(few):
    images, labels = few.train.images, few.train.labels
    np.save("mine.npy", images.numpy())
    for data, sizes in (
        ((images, labels), (135, 15)),
        (images.numpy(), (135, 15)),
        (((images, labels), (few.test.images, few.test.labels)), (150, 50)),
    ):
        knobs, splits = _data(data, {})
        assert knobs == {"dataset": "arrays", "image_size": 28} and (len(splits.train), len(splits.test)) == sizes
    assert _data("mine.npy", {}) == ({"dataset": "arrays", "data_dir": "mine.npy"}, None)
    assert _data(Path(), {}) == ({"dataset": "folder", "data_dir": "."}, None)


def test_mistakes_are_refused_in_one_line(few):
    for call, message in (
        (lambda: fit(make, few, num_epoch=3), r"no knob 'num_epoch' \(did you mean num_epochs\?\)"),
        (lambda: fit(make, few, nets="x.py:make"), "the nets are the first argument"),
        (lambda: fit(make, few, lr="fast"), "--lr: expected float, not str"),
        (lambda: fit(make, "mnits"), "expected a file or folder, or one of auto, mnist"),
        (lambda: fit(make, (1, 2, 3)), "data of 3 parts: expected"),
        (lambda: fit(3, few), "fit trains a Config"),
        (lambda: fit("mlp-2", few), "did you mean mlp-2d"),
        (lambda: fit(VAE(3), few, latent_dim=2), r"latent_dim is the model's own: give it to VAE\(latent_dim=…\)"),
        (lambda: fit(Config(), few, preset="record"), "a Config has its preset's knobs already"),
        (lambda: fit(Config(nets="evil.py:run"), few), "this Config names nets"),
        (lambda: fit(Config(dataset="digits"), few, dataset="mnist"), "the data are the second argument"),
    ):
        with pytest.raises(UsageError, match=message):
            call()


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """Folder of a run that `--nets my_nets.py:make` has trained."""
    root = tmp_path_factory.mktemp("own")
    (root / "my_nets.py").write_text(
        "import torch\nfrom vae import VAE\nprint('running my_nets.py')\n"
        "def make(config, *, image_shape, num_classes):\n"
        "    decoder = torch.nn.Sequential(torch.nn.Linear(2, 784), torch.nn.Unflatten(1, image_shape))\n"
        "    return VAE(config.latent_dim, decoder=decoder, hidden_dims=(8,), image_shape=image_shape)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main([*QUICK, "--num_epochs", "1", "--run_name", "x", "--nets", "my_nets.py:make"]) == 0
    return root


@pytest.fixture
def own_copy(own_run, tmp_path):
    shutil.copytree(own_run, tmp_path, dirs_exist_ok=True)
    return tmp_path


NETS = ["--nets", "my_nets.py:make"]


def test_a_run_asks_for_its_nets_and_never_runs_them_unasked(own_copy, capfd):
    asked = "x/checkpoints/last.pt was trained with nets of its own, my_nets.py:make"
    for argv in (["sample", "--run", "outputs/x"], ["--resume", "outputs/x", "--num_epochs", "2"]):
        assert main(argv) == 1
        out, err = capfd.readouterr()
        assert asked in err and "give --nets my_nets.py:make" in err and len(err.splitlines()) == 1
        assert "running" not in out
    with pytest.raises(CheckpointError, match=r"give --nets my_nets\.py:make"):
        load_model("outputs/x")
    assert main(["list"]) == 0 and "my_nets-make-2d" in capfd.readouterr().out
    assert main(["sample", "--run", "outputs/x", *NETS]) == 0
    assert "running my_nets.py:make\nrunning my_nets.py" in capfd.readouterr().out
    assert main(["export", "--run", "outputs/x", *NETS, "--format", "safetensors"]) == 0
    assert main(["--resume", "outputs/x", "--num_epochs", "2", *NETS, "--quiet"]) == 0
    assert open_run("outputs/x", nets="my_nets.py:make").epoch == 2
    assert json.loads((own_copy / "outputs/x/config.json").read_text())["config"]["nets"] == "my_nets.py:make"


def test_fit_is_the_command_s_run(own_copy):
    knobs = {**KNOBS, "batch_size": 256, "hidden_dims": [32]}
    run = fit("my_nets.py:make", "digits", num_epochs=1, run_name="fitted", **knobs)
    assert_same_state(load_state(run.run_dir)["model_state"], load_state(own_copy / "outputs/x")["model_state"])
    assert run.title == "scikit-learn digits"


def test_a_built_in_run_can_t_be_continued_with_nets_of_one_s_own(own_copy, finished_run, capfd):
    assert main(["--resume", str(finished_run / "outputs/whole"), *NETS]) == 2
    assert "this run has the built-in nets" in capfd.readouterr().err


def test_no_file_decides_which_code_runs(own_copy, capfd):
    (own_copy / "flags.yaml").write_text("nets: my_nets.py:make\n")
    for config in ("flags.yaml", "outputs/x/config.json"):
        assert main(["--config", config, "--run_name", "again"]) == 2
        assert "--nets is for the command line only" in capfd.readouterr().err


def test_a_checkpoint_that_names_evil_code_has_it_neither_run_nor_printed_raw(own_copy, capfd):
    (own_copy / "evil.py").write_text("open('ran', 'w')\ndef run(*args, **sizes): ...")
    state = load_state(own_copy / "outputs/x")
    for name in ("evil.py:run", "e\u202evil.py:run", "evil\x1b[31m.py:run"):
        torch.save({**state, "config": {**state["config"], "nets": name}}, "x.pt")
        assert main(["sample", "--checkpoint", "x.pt"]) == 1
        err = capfd.readouterr().err
        assert len(err.splitlines()) == 1 and err.rstrip("\n").isprintable()
    assert not (own_copy / "ran").exists()
