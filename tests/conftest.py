"""What several tests share: small IDX files, offline sources, and one finished run on real digits."""

import contextlib
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import DRAWING, ROOT, SAVING, idx_bytes, real_figures, real_pictures, replaced, run_main

from vae.data import download
from vae.data.errors import DataError
from vae.data.idx import DIGESTS

torch.set_num_threads(1)  # these nets are too small to share, and a busy machine makes threads wait for each other
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / ".pytest_cache" / "inductor"))  # compiled once, for all


def pytest_xdist_auto_num_workers(config):
    """Two workers, as many as the tests are measured with; none for a single test, which is quicker alone."""
    return 0 if any("::" in argument for argument in config.args) else 2


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Decoded images are kept in a folder of the tests', and not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def idx_files(monkeypatch):
    """Four small files in the place of MNIST's, with their digests."""
    rng = np.random.default_rng(0)
    files = {}
    for split, count in (("train", 50), ("t10k", 20)):
        files[f"{split}-images-idx3-ubyte"] = idx_bytes(rng.integers(0, 256, (count, 28, 28)))
        files[f"{split}-labels-idx1-ubyte"] = idx_bytes(np.arange(count) % 10)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setitem(DIGESTS, "mnist", digests)
    return files


@pytest.fixture
def write_idx(idx_files):
    """Write the four files below a data folder, plain or packed."""

    def write(data_dir: Path, *, packed: bool = False) -> Path:
        raw = data_dir / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name, content in idx_files.items():
            if packed:
                (raw / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (raw / name).write_bytes(content)
        return raw

    return write


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test reaches a network: both ways to fetch fail as they do without one."""

    def no_network(*mirror):
        raise DataError("no network")

    monkeypatch.setattr(download, "_fetch_mirror", no_network)
    monkeypatch.setattr(download, "_fetch_npm", no_network)


@pytest.fixture(scope="session", autouse=True)
def blank_pictures():
    """Pictures are blank, since building figures, drawing them and t-SNE is most of what a run of a few epochs costs.

    A test that looks at pictures has the marker `pictures`, one in which figures must come about `figures`; a fixture
    of a wider scope that draws them for such tests does so under `real_pictures()`.
    """
    with replaced(SAVING + DRAWING):
        yield


@pytest.fixture(autouse=True)
def pictures_where_marked(request, blank_pictures):
    """Draws for tests with the marker `pictures`, builds figures for those with the marker `figures`."""
    with contextlib.ExitStack() as stack:
        for marker, drawing in (("figures", real_figures), ("pictures", real_pictures)):
            if request.node.get_closest_marker(marker):
                stack.enter_context(drawing())
        yield


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global noise, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Root of a run of four epochs named `whole`."""
    root = tmp_path_factory.mktemp("finished")
    flags = ["--num_epochs", "4", "--sample_every", "2", "--checkpoint_every", "2", "--val_split", "0.1"]
    with real_figures():  # blank, and of the size that they have
        assert run_main(root, "--run_name", "whole", *flags) == 0
    return root


@pytest.fixture(scope="session")
def conditional_run(tmp_path_factory):
    """Folder of a conditional run of one epoch with five latents."""
    root = tmp_path_factory.mktemp("conditional")
    flags = ["--conditional", "--latent_dim", "5", "--num_epochs", "1"]
    assert run_main(root, "--run_name", "x", *flags) == 0
    return root / "outputs/x"
