"""One browser for all tests of a page, and runs to make pages of."""

import numpy as np
import pytest
from in_browser import CHROMIUM, DRIVER
from PIL import Image
from small_runs import run_main

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900"),
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """Folder of a run with 16 latents."""
    root = tmp_path_factory.mktemp("many")
    flags = ["--num_epochs", "6", "--kl_warmup_epochs", "6", "--latent_dim", "16", "--lr", "0.01"]
    assert run_main(root, "--run_name", "many", *flags) == 0
    return root / "outputs" / "many"


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """Folder of a conditional run with 3 latents, GELU and the continuous Bernoulli."""
    root = tmp_path_factory.mktemp("given")
    flags = ["--activation", "gelu", "--recon_loss", "continuous_bernoulli", "--hidden_dims", "40", "30"]
    flags += ["--num_epochs", "1", "--lr", "0.01", "--conditional", "--latent_dim", "3"]
    assert run_main(root, "--run_name", "g", *flags) == 0
    return root / "outputs" / "g"


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory):
    """Folder of a run on images that are in no class."""
    root, rng = tmp_path_factory.mktemp("unlabelled"), np.random.default_rng(0)
    (root / "images").mkdir()
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(root / "images" / f"{i}.png")
    flags = ["--dataset", "folder", "--data_dir", str(root / "images"), "--image_size", "8", "--num_epochs", "2"]
    assert run_main(root, *flags, "--sample_every", "1", "--run_name", "u") == 0
    return root / "outputs" / "u"


@pytest.fixture
def plane(finished_run):
    return finished_run / "outputs" / "whole"
