"""What TensorBoard shows of a run."""

import threading

import torch
from small_runs import read_events

from vae import load_model
from vae.data.datasets import load_splits
from vae.runs.tracking import silent_writer_thread

TAGS = ("train/loss", "train/recon", "train/kl", "train/elbo", "test/loss", "test/elbo", "lr", "images_per_second")


def test_tensorboard_holds_scalars_pictures_and_hparams(finished_run):
    events = read_events(finished_run / "runs" / "whole")
    for tag in TAGS:
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4]
    for tag in ("samples", "reconstructions"):
        assert [event.step for event in events.Images(tag)] == [1, 2, 4]
    assert events.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name == "hparams"


def test_the_projector_holds_posterior_means_with_their_classes_and_thumbnails(finished_run):
    log_path = finished_run / "runs" / "whole"
    assert (log_path / "projector_config.pbtxt").read_text().count("embeddings {") == 1
    assert list(log_path.glob("*/*/sprite.png"))
    test = load_splits("digits", finished_run).test
    subset = test.take(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:60])
    names = next(log_path.glob("*/*/metadata.tsv")).read_text().split()
    assert names == [str(label) for label in subset.labels.tolist()]
    lines = next(log_path.glob("*/*/tensors.tsv")).read_text().splitlines()
    points = torch.tensor([[float(value) for value in line.split()] for line in lines])
    mu, _ = load_model(finished_run / "outputs/whole").encode(subset.images / 255)
    torch.testing.assert_close(points, mu.detach(), atol=1e-4, rtol=1e-3)


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
