"""The epochs to scrub through in the report."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from html_tags import Tags, unblob
from PIL import Image
from small_runs import run_main

from vae import VAE, load_model, open_run
from vae.data.datasets import load_splits
from vae.plots.snapshots import read_snapshot, write_snapshot
from vae.report import frames
from vae.report.frames import MAX_FRAMES
from vae.report.page import thinned

ROWS = [{"test/elbo": -200.0 + epoch} for epoch in range(1, 101)]


def sheet_of(contents):
    """The samples of each epoch, (F, height, width) or (F, height, width, 3)."""
    picture = Image.open(io.BytesIO(base64.b64decode(contents["sheet"].partition(",")[2])))
    array = np.array(picture.convert("RGB" if picture.getpalette()[0:6] != [0, 0, 0, 17, 17, 17] else "L"))
    return array.reshape(-1, contents["height"], *array.shape[1:])


def places_of(contents):
    corner = np.array([contents["left"], contents["bottom"]])
    return unblob(contents["places"]) / 65535 * contents["side"] + corner


@pytest.fixture(scope="module")
def splits():
    return load_splits("digits", Path())


def keep(run_dir, epochs, *, channels=1, side=28, columns=8, latent_dim=2, images=360, rows=8):
    """Write noise as the snapshots of these epochs."""
    (run_dir / "epochs").mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for epoch in epochs:
        samples = torch.rand(rows * columns, channels, side, side, generator=generator)
        mu = torch.randn(images, latent_dim, generator=generator)
        write_snapshot(run_dir / "epochs" / f"epoch_{epoch:03d}.npz", samples, mu, columns=columns)


@pytest.fixture
def described(tmp_path, splits):
    """What is described of the snapshots in a folder, and the names of those left out."""

    def describe(model, rows=ROWS):
        return frames.describe(tmp_path, model, splits, torch.randn(360, model.latent_dim), rows)

    return describe


def test_the_page_holds_each_kept_epoch_s_samples_and_means(finished_run, splits):
    run_dir = finished_run / "outputs" / "whole"
    contents = json.loads(Tags((run_dir / "report.html").read_text("utf-8")).data)["frames"]
    assert contents["epochs"] == [1, 2, 4] and contents["titles"] == ["z1", "z2"]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert contents["losses"] == [-rows[epoch - 1]["test/elbo"] for epoch in (1, 2, 4)]
    for epoch, sheet, places in zip(contents["epochs"], sheet_of(contents), places_of(contents), strict=True):
        snapshot = read_snapshot(run_dir / "epochs" / f"epoch_{epoch:03d}.npz")
        images = sheet.reshape(8, 28, 8, 28).transpose(0, 2, 1, 3).reshape(64, 28, 28)
        assert np.abs(images - snapshot.samples[:, 0].astype(int)).max() <= 9  # 16 levels
        inside = (np.abs(places - snapshot.mu) < contents["side"] / 60_000).all(1)
        assert inside.mean() > 0.98  # few lie further out, and are put at the edge
    with torch.no_grad():
        mu = load_model(run_dir).encode(splits.test.images / 255)[0]
    np.testing.assert_allclose(snapshot.mu, mu, atol=4e-3)
    np.testing.assert_array_equal(unblob(contents["labels"]), splits.test.labels)


def test_the_same_draws_are_kept_in_every_epoch(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    samples = load_model(run_dir).sample(64, generator=torch.Generator().manual_seed(0))
    kept = read_snapshot(run_dir / "epochs" / "epoch_004.npz").samples
    assert np.abs(kept - 255 * samples.numpy()).max() <= 0.51


def test_many_latents_are_seen_on_the_axes_of_the_last_means(tmp_path, splits):
    basis = torch.linalg.qr(torch.randn(5, 5)).Q
    mu = torch.randn(360, 5) * torch.tensor([5.0, 2.0, 0.1, 0.1, 0.1]) @ basis.T + 1
    keep(tmp_path, [1], latent_dim=5)
    write_snapshot(tmp_path / "epochs" / "epoch_002.npz", torch.rand(64, 1, 28, 28), mu, columns=8)
    contents, _ = frames.describe(tmp_path, VAE(5, hidden_dims=(8,)), splits, mu, ROWS)
    expected = (mu - mu.mean(0)) @ basis[:, :2]
    for axis in range(2):
        assert abs(np.corrcoef(places_of(contents)[1, :, axis], expected[:, axis])[0, 1]) > 0.999


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_one_latent_and_a_collapsed_posterior_have_a_map_too(tmp_path, splits, latent_dim):
    keep(tmp_path, [1, 2], latent_dim=latent_dim)
    contents, damaged = frames.describe(
        tmp_path, VAE(latent_dim, hidden_dims=(8,)), splits, torch.zeros(360, latent_dim), ROWS
    )
    assert not damaged and len(np.unique(places_of(contents)[0], axis=0)) > 300


def test_at_most_24_epochs_are_shown_the_first_and_the_last_among_them(tmp_path, described):
    keep(tmp_path, range(1, 101), rows=1, side=8)
    contents, damaged = described(VAE(2, image_shape=(1, 8, 8)))
    assert not damaged and contents["epochs"] == thinned(list(range(1, 101)), MAX_FRAMES)
    assert len(contents["epochs"]) == 24 and (contents["epochs"][0], contents["epochs"][-1]) == (1, 100)


@pytest.mark.parametrize(
    ("knobs", "model"),
    [
        pytest.param({}, VAE(2), id="grey"),
        pytest.param(
            {"channels": 3, "side": 40}, VAE(2, image_shape=(3, 40, 40)), id="colours", marks=pytest.mark.slow
        ),
        pytest.param(
            {"columns": 20, "channels": 3, "side": 40},
            VAE(2, image_shape=(3, 40, 40), num_classes=20),
            id="colours of 20 classes",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_samples_and_epochs_are_left_out_until_half_a_megabyte_holds_the_rest(tmp_path, described, knobs, model):
    keep(tmp_path, range(1, 25), **knobs)  # noise, which no format packs
    contents, _ = described(model)
    assert len(json.dumps(contents)) < 0.51e6 and contents["epochs"][-1] == 24
    assert contents["columns"] == (20 if model.num_classes else contents["rows"])  # a class a column


def test_what_a_killed_run_has_kept_beyond_its_last_epoch_is_left_out(tmp_path, described):
    keep(tmp_path, [1, 2, 3])
    assert described(VAE(2), ROWS[:2])[0]["epochs"] == [1, 2]
    assert described(VAE(2), ROWS[:1]) == (None, [])


def test_damaged_snapshots_and_those_of_another_model_are_left_out_by_name(finished_run, tmp_path):
    run_dir = tmp_path / "whole"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    (run_dir / "epochs" / "epoch_001.npz").write_bytes(b"PK\3\4")
    keep(run_dir, [3], latent_dim=3)
    page = open_run(run_dir).report(tmp_path / "page.html").read_text("utf-8")
    assert json.loads(Tags(page).data)["frames"]["epochs"] == [2, 4]
    assert "Left out: epoch_001.npz, epoch_003.npz in epochs/" in page
    shutil.rmtree(run_dir / "epochs")
    page = open_run(run_dir).report(tmp_path / "page.html").read_text("utf-8")
    assert json.loads(Tags(page).data)["frames"] is None
    assert 'id="scrubber"' not in page and "Left out" not in page


def test_without_pictures_of_epochs_nothing_is_kept(tmp_path):
    assert run_main(tmp_path, "--num_epochs", "2", "--sample_every", "0", "--run_name", "x", "--quiet") == 0
    assert not (tmp_path / "outputs/x/epochs").exists()
    assert 'id="scrubber"' not in (tmp_path / "outputs/x/report.html").read_text("utf-8")
