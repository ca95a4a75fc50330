"""A finished run and a conditional one that the tests of all commands share."""

import shutil

import pytest
from small_runs import run_main

from main import main


@pytest.fixture(scope="session")
def run_dir(finished_run, tmp_path_factory):
    """A copy: commands leave their results in it."""
    return shutil.copytree(finished_run / "outputs/whole", tmp_path_factory.mktemp("used") / "outputs/whole")


@pytest.fixture(scope="session")
def conditional_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("conditional")
    flags = ["--conditional", "--latent_dim", "5", "--num_epochs", "1"]
    assert run_main(root, "--run_name", "x", *flags) == 0
    return root / "outputs/x"


@pytest.fixture(scope="session")
def use():
    """Run a command on the CPU; returns the exit code."""
    return lambda command, run, *flags: main([command, "--run", str(run), "--device", "cpu", *map(str, flags)])
