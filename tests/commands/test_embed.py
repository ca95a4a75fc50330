import numpy as np
from sklearn.decomposition import PCA

from vae.commands.embed import project_2d


def test_pca_is_scikit_learn_s_up_to_signs():
    points = (np.random.default_rng(0).normal(size=(200, 6)) * [3, 2, 1, 0.5, 0.1, 0.1] + 5).astype(np.float32)
    found, axes = project_2d(points, "pca")
    reference = PCA(2).fit(points)
    np.testing.assert_allclose(np.abs(found), np.abs(reference.transform(points)), atol=1e-4)
    assert axes[0] == f"PC 1, {reference.explained_variance_ratio_[0]:.0%} of the variance".replace("%", " %")


def test_one_latent_and_collapsed_ones_have_a_map_too():
    for points in (np.random.default_rng(0).normal(size=(30, 1)), np.zeros((30, 3))):
        found, axes = project_2d(points.astype(np.float32), "pca")
        assert found.shape == (30, 2) and np.isfinite(found).all() and len(axes) == 2
