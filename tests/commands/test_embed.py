import csv

import numpy as np
import pytest

from vae import open_run
from vae.evaluation.elbo import posterior


@pytest.mark.figures
def test_both_files_have_the_same_latents(use, run_dir, tmp_path):
    assert use("embed", run_dir, "--split", "val", "--picture", "pca", "--output", tmp_path) == 0
    with np.load(tmp_path / "val_latents_pca.npz") as archive:
        arrays = dict(archive)
    lines = list(csv.DictReader((tmp_path / "val_latents_pca.csv").read_text().splitlines()))
    assert len(lines) == 144 == len(arrays["mu"])
    for name in ("mu", "logvar"):
        written = np.array([[line[f"{name}_{i}"] for i in (1, 2)] for line in lines], dtype=np.float32)
        np.testing.assert_array_equal(written, arrays[name])
    assert [int(line["label"]) for line in lines] == arrays["labels"].tolist()
    trained = open_run(run_dir, device="cpu")
    np.testing.assert_allclose(arrays["mu"], posterior(trained.model, trained.split("val"))[0], atol=1e-6)
