"""A finished run that the tests of all commands share, and how they run one."""

import shutil

import pytest

from main import main


@pytest.fixture(scope="session")
def run_dir(finished_run, tmp_path_factory):
    """A copy: commands leave their results in it."""
    return shutil.copytree(finished_run / "outputs/whole", tmp_path_factory.mktemp("used") / "outputs/whole")


@pytest.fixture(scope="session")
def use():
    """Run a command on the CPU; returns the exit code."""
    return lambda command, run, *flags: main([command, "--run", str(run), "--device", "cpu", *map(str, flags)])
