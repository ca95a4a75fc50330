import csv

import numpy as np
from sklearn.decomposition import PCA

from vae import open_run
from vae.commands.embed import project_2d
from vae.evaluation.elbo import posterior


def test_pca_is_scikit_learn_s_up_to_signs():
    points = (np.random.default_rng(0).normal(size=(200, 6)) * [3, 2, 1, 0.5, 0.1, 0.1] + 5).astype(np.float32)
    points_2d, axes = project_2d(points, "pca")
    reference = PCA(2).fit(points)
    np.testing.assert_allclose(np.abs(points_2d), np.abs(reference.transform(points)), atol=1e-4)
    assert axes[0] == f"PC 1, {reference.explained_variance_ratio_[0]:.0%} of the variance".replace("%", " %")


def test_one_latent_and_collapsed_ones_have_a_map_too():
    for points in (np.random.default_rng(0).normal(size=(30, 1)), np.zeros((30, 3))):
        points_2d, axes = project_2d(points.astype(np.float32), "pca")
        assert points_2d.shape == (30, 2) and np.isfinite(points_2d).all() and len(axes) == 2


def test_both_files_have_the_same_latents(use, run_dir, tmp_path):
    assert use("embed", run_dir, "--split", "val", "--picture", "pca", "--output", tmp_path) == 0
    with np.load(tmp_path / "val_latents.npz") as archive:
        arrays = dict(archive)
    lines = list(csv.DictReader((tmp_path / "val_latents.csv").read_text().splitlines()))
    assert len(lines) == 144 == len(arrays["mu"])
    for name in ("mu", "logvar"):
        written = np.array([[line[f"{name}_{i}"] for i in (1, 2)] for line in lines], dtype=np.float32)
        np.testing.assert_array_equal(written, arrays[name])
    assert [int(line["label"]) for line in lines] == arrays["labels"].tolist()
    trained = open_run(run_dir, device="cpu")
    np.testing.assert_allclose(arrays["mu"], posterior(trained.model, trained.split("val"))[0], atol=1e-6)
