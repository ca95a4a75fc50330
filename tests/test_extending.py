"""docs/extending.md, run as it is written."""

import json

import pytest
import torch
from small_runs import ROOT, load_state
from test_docs import blocks

PYTHON = blocks((ROOT / "docs/extending.md").read_text("utf-8"), "python")


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder and the names that a reader has after typing all of it."""
    folder, names = tmp_path_factory.mktemp("reader"), {}
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.chdir(folder)
        torch.manual_seed(0)
        exec("\n".join(PYTHON), names)
    return folder, names


def test_every_part_of_one_s_own_is_trained_and_recorded(followed):
    folder, names = followed
    unet, mixture = (
        json.loads((folder / f"outputs/discs-{name}/config.json").read_text()) for name in ("unet", "mixture")
    )
    assert unet["config"]["nets"] == "python:UNetDecoder" and unet["protocol"] == "grey pixels, 16×16"
    assert mixture["protocol"] == "grey pixels, Gaussian with learned variance, 16×16"
    assert names["samples"].shape == (8, 1, 16, 16) and names["run"].epoch == 2
    state = load_state(folder / "outputs/discs-mixture")["model_state"]
    assert state["likelihood.logvar"] < 0 and not torch.equal(state["prior.logvar"], torch.zeros(10, 3))
    for name in ("report.html", "results.json", "tsne.png"):
        assert (folder / "outputs/discs-mixture" / name).exists()
