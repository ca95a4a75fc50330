"""A screen that is closed or goes away: the run goes on, or ends as a signal tells it to and says how to go on."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios

import pytest
from small_runs import MAIN, QUICK, load_state

from main import main

pytestmark = pytest.mark.slow
COMMAND = [
    sys.executable,
    MAIN,
    *QUICK,
    "--threads",
    "1",
    "--sample_every",
    "0",
    "--run_name",
    "x",
    "--batch_size",
    "8",
]
CONTROLLING, IGNORING = "with the terminal that controls it", "as under nohup"


@contextlib.contextmanager
def on_terminal(cwd, *flags, kind=""):
    """Start a run on a terminal; closing that, the block's value, is left to the block."""
    master, terminal = os.openpty()

    def prepare():
        if kind:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        if kind == IGNORING:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen([*COMMAND, *flags], cwd=cwd, start_new_session=True, preexec_fn=prepare, **streams)
    os.close(terminal)
    try:
        yield process, os.fdopen(master, "rb", buffering=0)
    finally:
        process.kill()
        process.wait()


def close_in_training(process, screen):
    """Close the screen after the first epoch; returns the exit code."""
    seen = b""
    while not re.search(rb"\bepoch +1/", seen):
        seen += screen.read(1000)
    screen.close()
    return process.wait()


@pytest.mark.parametrize("kind", ["", IGNORING])
def test_a_run_whose_terminal_is_closed_goes_on(tmp_path, kind):
    with on_terminal(tmp_path, "--num_epochs", "8", kind=kind) as (process, screen):
        assert close_in_training(process, screen) == 0
    assert load_state(tmp_path / "outputs/x")["epoch"] == 8 and (tmp_path / "outputs/x/report.html").exists()


def test_a_run_in_the_foreground_of_a_terminal_that_is_closed_keeps_its_epoch_and_says_how_to_go_on(tmp_path):
    with on_terminal(tmp_path, "--num_epochs", "1000000", kind=CONTROLLING) as (process, screen):
        assert close_in_training(process, screen) == 128 + signal.SIGHUP
    epoch = load_state(tmp_path / "outputs/x")["epoch"]
    text = (tmp_path / "outputs/x/stopped.txt").read_text()
    assert f"stopped by SIGHUP after epoch {epoch} of 1000000" in text and "--resume outputs/x" in text


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_streams_are_closed_from_the_start_ends_as_any_other(tmp_path, closed):
    line = f'exec "$@" --num_epochs 1 {closed}'
    assert subprocess.run(["sh", "-c", line, "sh", *COMMAND], cwd=tmp_path, capture_output=True).returncode == 0
    assert (tmp_path / "outputs/x/report.html").exists()
    failed = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND], cwd=tmp_path, capture_output=True)
    assert failed.returncode == 2 and b"Traceback" not in failed.stderr
    assert main(["sample", "--run", str(tmp_path / "outputs/x"), "--quiet", "--device", "cpu"]) == 0
