"""Opening a run's folder or a checkpoint."""

import json
import logging
import os
import shutil

import pytest
import torch
from small_runs import load_state, run_main

from vae import open_run
from vae.data.datasets import load_splits
from vae.data.errors import DataError
from vae.system.errors import UsageError


def test_a_run_opens_with_its_model_its_data_and_its_captions(finished_run):
    run_dir = finished_run / "outputs/whole"
    trained = open_run(run_dir)
    state = load_state(run_dir)
    assert trained.run_dir == run_dir.resolve() and trained.epoch == 4 and not trained.model.training
    assert all(torch.equal(value.cpu(), state["model_state"][key]) for key, value in trained.model.state_dict().items())
    expected = load_splits("digits", finished_run, val_split=0.1, seed=0)
    for name in ("train", "val", "test"):
        assert torch.equal(trained.split(name).images.cpu(), getattr(expected, name).images)
    assert not trained.model.decode(torch.zeros(1, 2)).requires_grad
    score = -json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[3])["test/elbo"]
    who = "scikit-learn digits · mlp-32-2d, seed 0 · epoch 4"
    assert trained.subtitle("x") == f"{who} · test −ELBO {score:.2f} (grey pixels) · x"
    assert trained.class_names == tuple("0123456789")


def test_any_checkpoint_opens_wherever_it_lies(finished_run, tmp_path):
    inside = open_run(finished_run / "outputs/whole/checkpoints/epoch_002.pt")
    assert inside.epoch == 2 and inside.run_dir == (finished_run / "outputs/whole").resolve()
    shutil.copy(finished_run / "outputs/whole/checkpoints/best.pt", tmp_path / "mine.pt")
    outside = open_run(tmp_path / "mine.pt")
    assert "ELBO" not in outside.subtitle() and outside.subtitle().endswith("grey pixels")
    assert outside.run_dir is None and len(outside.split("test")) == 360


def test_captions_come_from_the_data_where_a_checkpoint_has_no_usable_ones(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    for captions in (None, {}, {"title": 3}, {"title": "x", "protocol": "y", "class_names": ["0"]}):
        torch.save({**state, "shown": captions}, tmp_path / "x.pt")
        trained = open_run(tmp_path / "x.pt")
        assert (trained.title, trained.protocol, len(trained.class_names)) == ("scikit-learn digits", "grey pixels", 10)


def test_latest_is_found_without_its_link(finished_run, tmp_path):
    for age, name in enumerate(("newer", "older")):
        target = tmp_path / name / "checkpoints"
        target.mkdir(parents=True)
        shutil.copy(finished_run / "outputs/whole/checkpoints/last.pt", target)
        (tmp_path / name / "metrics.jsonl").touch()
        os.utime(target / "last.pt", (1e9 - age, 1e9 - age))
    assert open_run(tmp_path / "latest").run_dir == (tmp_path / "newer").resolve()
    (tmp_path / "latest").symlink_to("older", target_is_directory=True)
    assert open_run(tmp_path / "latest").run_dir == (tmp_path / "older").resolve()


def test_data_that_has_changed_since_is_refused(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    torch.save({**state, "config": {**state["config"], "image_size": 24}}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="other images or classes"):
        _ = open_run(tmp_path / "x.pt").splits


def test_where_data_is_fetched_again_the_flag_that_spares_it_is_named(finished_run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    state = load_state(finished_run / "outputs/whole")
    torch.save({**state, "config": {**state["config"], "dataset": "mnist", "data_dir": "gone"}}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="not in gone, where its run had them: name their folder with --data_dir"):
        _ = open_run(tmp_path / "x.pt").splits
    assert not caplog.messages
    with pytest.raises(DataError):
        _ = open_run(tmp_path / "x.pt", data_dir="gone").splits
    assert "MNIST is not in gone/MNIST/raw (--data_dir)" in caplog.messages[0]


def test_a_split_that_was_not_held_out_is_refused(tmp_path, no_finish):
    assert run_main(tmp_path, "--run_name", "x", "--num_epochs", "1", "--binarize", "dynamic") == 0
    trained = open_run(tmp_path / "outputs/x")
    with pytest.raises(UsageError, match="held out no images"):
        trained.split("val")
    assert set(trained.split("train").images.unique().tolist()) == {0, 255}
    assert trained.protocol == "dynamically binarised, test images drawn once with seed 0"
