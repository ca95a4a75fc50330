"""What TensorBoard shows of a run."""

import json
import threading
from contextlib import closing, contextmanager

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from small_runs import read_events
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from vae import load_model
from vae.config import presets
from vae.data.datasets import load_splits
from vae.runs import folders, tracking
from vae.runs.folders import Folders
from vae.runs.tracking import Tracker, silent_writer_thread

LOSSES = {"losses/-elbo", "losses/recon", "losses/kl"}
LATENTS = [0.5, 0.25, 0.125, 0.0, 0.0]


def row_of(epoch, kl_per_dim=(1.0, 2.0)):
    """An epoch's figures, with beta 4: what was minimised is not minus the ELBO."""
    row = {"epoch": epoch, "train/loss": 571.0, "train/recon": 70.0, "train/kl": 24.0, "train/elbo": -94.0}
    row |= {"test/loss": 95.0, "test/recon": 70.5, "test/kl": 24.5, "test/elbo": -95.0, "test/active_units": 2}
    return row | {"test/kl_per_dim": list(kl_per_dim), "lr": 0.001, "beta": 4.0, "images_per_second": 9.0}


@pytest.fixture
def track(tmp_path):
    """Opens a tracker of `runs/x` that has logged the epochs in `rows`."""

    @contextmanager
    def opened(rows=(), *, knobs=None):
        tracker = Tracker(
            tmp_path / "metrics.jsonl",
            tmp_path / "runs/x",
            list(rows),
            splits=("train", "test"),
            knobs=knobs or {"lr": 0.001},
            description="the *configuration*",
        )
        with closing(tracker):
            yield tracker

    return opened


def scalars(log_path):
    events = read_events(log_path)
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_train_val_and_test_share_a_chart_and_each_figure_is_logged_once(finished_run):
    log_path = finished_run / "runs/whole"
    rows = [json.loads(line) for line in (finished_run / "outputs/whole/metrics.jsonl").read_text().splitlines()]
    train, val, test = (scalars(log_path / split) for split in ("train", "val", "test"))
    assert {tag for tag in train if tag.startswith("losses/")} == LOSSES and val.keys() == test.keys()
    assert test.keys() == LOSSES | {"posterior/active_units"} and not scalars(log_path)
    speed = {"training/seconds", "training/images_per_second"}
    assert train.keys() == LOSSES | {"training/minimised_loss", "training/lr", "training/beta"} | speed
    for split, logged in (("train", train), ("val", val), ("test", test)):
        assert logged["losses/-elbo"] == pytest.approx([-row[f"{split}/elbo"] for row in rows])
        assert logged["losses/kl"] == pytest.approx([row[f"{split}/kl"] for row in rows])
    events = read_events(log_path)
    for tag in ("samples", "reconstructions", "latent_scatter", "manifold"):
        assert [event.step for event in events.Images(f"pictures/{tag}")] == [1, 2, 4]


def test_what_was_minimised_has_a_tag_of_its_own(track, tmp_path):
    with track() as tracker:
        tracker.log_epoch(row_of(1))
    train, test = scalars(tmp_path / "runs/x/train"), scalars(tmp_path / "runs/x/test")
    assert train["training/minimised_loss"] == [571.0] and train["losses/-elbo"] == [94.0]
    assert not [tag for tag in test if "loss" in tag.removeprefix("losses/")] and test["losses/-elbo"] == [95.0]


def test_the_kl_of_each_latent_is_a_histogram_where_there_are_enough_of_them(track, tmp_path):
    with track() as tracker:
        tracker.log_epoch(row_of(1))
    assert read_events(tmp_path / "runs/x/test").Tags()["histograms"] == []
    with track() as tracker:
        tracker.log_epoch(row_of(1, LATENTS))
    assert read_events(tmp_path / "runs/x/test").Tags()["histograms"] == ["posterior/kl_per_latent"]


def test_a_resumed_run_cuts_the_logs_of_every_split(track, tmp_path):
    with track() as tracker:
        for epoch in (1, 2, 3):
            tracker.log_epoch(row_of(epoch))
            tracker.log_image("samples", np.zeros((2, 2)), epoch)
    with track([row_of(1)]):
        pass
    for split in ("train", "test"):
        assert [event.step for event in read_events(tmp_path / "runs/x" / split).Scalars("losses/kl")] == [1]
    assert [event.step for event in read_events(tmp_path / "runs/x").Images("pictures/samples")] == [1]


def test_a_run_begun_with_one_folder_for_all_splits_goes_on_with_whole_charts(track, tmp_path):
    with SummaryWriter(str(tmp_path / "runs/x"), purge_step=1) as writer:
        for epoch in (1, 2, 3):
            writer.add_scalar("test/loss", 95.0, epoch)
    with track([row_of(1), row_of(2)]) as tracker:
        tracker.log_epoch(row_of(3))
    for split in ("train", "test"):
        assert [event.step for event in read_events(tmp_path / "runs/x" / split).Scalars("losses/-elbo")] == [1, 2, 3]
    assert [event.step for event in read_events(tmp_path / "runs/x").Scalars("test/loss")] == [1, 2]
    assert folders.check_written(Folders(tmp_path / "outputs/x", tmp_path / "runs/x")) is None


def test_hparams_are_those_of_the_run_s_latest_part(track, tmp_path):
    for num_epochs in (1, 2):
        with track(knobs={"num_epochs": num_epochs, "hidden_dims": (512, 256), "lr": 1e-3}):
            pass
    metadata = read_events(tmp_path / "runs/x/test").summary_metadata
    assert list(metadata) == ["_hparams_/session_start_info"]  # and no list of columns, which all runs would share
    content = metadata["_hparams_/session_start_info"].plugin_data.content
    knobs = HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: value.number_value or value.string_value for name, value in knobs.items()} == {
        **{"num_epochs": 2, "hidden_dims": "512 256", "lr": 1e-3}
    }


def test_the_knobs_of_the_table_are_those_that_tell_most_and_those_that_differ_from_the_preset():
    knobs = presets.telling_knobs(presets.configure({"preset": "mlp-20d", "grad_clip": 1.0}))
    assert knobs["latent_dim"] == 20 and knobs["grad_clip"] == 1.0 and "ema" not in knobs and len(knobs) == 15


def test_the_configuration_and_the_command_that_repeats_the_run_stand_in_text(finished_run):
    text = read_events(finished_run / "runs/whole").Tensors("configuration/text_summary")[0].tensor_proto.string_val[0]
    assert "    python main.py --dataset digits --seed 0" in text.decode()
    assert "| hidden_dims | **32** |" in text.decode() and "| lr | 0.001 |" in text.decode()
    assert "\n\n| knob | value |\n|---|---|\n" in text.decode() and "| protocol | grey pixels |" in text.decode()


def test_the_projector_holds_posterior_means_in_three_dimensions_with_their_classes_and_thumbnails(finished_run):
    """TensorBoard's projector shows nothing of points with fewer."""
    log_path = finished_run / "runs" / "whole"
    info = ProjectorConfig()
    text_format.Parse((log_path / "projector_config.pbtxt").read_text(), info)
    (embedding,) = info.embeddings
    test = load_splits("digits", finished_run).test
    subset = test.take(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:60])
    names = (log_path / embedding.metadata_path).read_text().split()
    assert names == [str(label) for label in subset.labels.tolist()]
    points = torch.from_numpy(np.loadtxt(log_path / embedding.tensor_path, delimiter="\t", dtype=np.float32))
    mu, _ = load_model(finished_run / "outputs/whole").encode(subset.images / 255)
    assert points.shape == (60, 3) and not points[:, 2].any()
    torch.testing.assert_close(points[:, :2], mu.detach(), atol=1e-4, rtol=1e-3)
    assert list(embedding.sprite.single_image_dim) == [28, 28]
    with Image.open(log_path / embedding.sprite.image_path) as sprite:
        assert sprite.size == (8 * 28, 8 * 28)  # 60 thumbnails in a square
        first = np.asarray(sprite.convert("L"))[:28, :28]
    np.testing.assert_allclose(first, subset.images[0, 0], atol=1)


@pytest.mark.parametrize("dims", [1, 3, 4])
def test_points_for_the_projector_get_three_columns_at_least(track, tmp_path, dims):
    with track([row_of(1)]) as tracker:
        tracker.log_embedding(torch.ones(4, dims), ["x"] * 4, torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 1)
    lines = next((tmp_path / "runs/x").glob("*/*/tensors.tsv")).read_text().splitlines()
    assert [line.split("\t") for line in lines] == [["1.0"] * dims + ["0.0"] * (3 - dims)] * 4


def test_the_projector_s_thumbnails_fit_into_one_picture_of_bounded_size(track, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "SPRITE", 100)
    with track() as tracker:
        tracker.log_embedding(torch.zeros(9, 2), ["x"] * 9, torch.zeros(9, 1, 50, 50, dtype=torch.uint8), 1)
    (sprite,) = (tmp_path / "runs/x").glob("*/*/sprite.png")
    with Image.open(sprite) as picture:
        assert picture.size == (99, 99)


def test_a_writer_thread_s_failed_write_is_not_printed_and_other_errors_are(monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", hook := lambda failure: errors.append(failure.exc_type))

    def fail(error):
        raise error

    with silent_writer_thread():
        for error in (OSError(28, "No space left on device"), ValueError()):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert errors == [ValueError] and threading.excepthook is hook
