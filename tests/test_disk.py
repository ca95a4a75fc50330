"""No room for a file: one clear line, nothing half-written, and a run that goes on when there is room."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK, load_state

from main import main

MAIN = str(Path(__file__).parent.parent / "main.py")


def run(cwd, *flags, largest_file=resource.RLIM_INFINITY):
    """Run the program where no file can grow beyond so many bytes, as on a disk that is nearly full."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    command = [sys.executable, MAIN, *flags, "--threads", "1"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, preexec_fn=limit)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "largest_file", [40_000, *(pytest.param(size, marks=slow) for size in (200, 1_000, 150_000, 500_000))]
)
def test_a_file_that_finds_no_room_gets_one_line_and_the_run_can_go_on(tmp_path, largest_file):
    flags = [*QUICK, "--num_epochs", "3", "--checkpoint_every", "1", "--sample_every", "1", "--run_name", "full"]
    done = run(tmp_path, *flags, largest_file=largest_file)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: can't ") and done.stderr.count("\n") == 1
    run_dir = tmp_path / "outputs" / "full"
    assert not [path for path in run_dir.rglob("*") if path.name.endswith(".tmp")]
    if (run_dir / "checkpoints" / "last.pt").exists():
        load_state(run_dir)
        again = run(tmp_path, "--resume", str(run_dir))
    else:
        again = run(tmp_path, *flags, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert (run_dir / "results.json").exists() and load_state(run_dir)["epoch"] == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_output_folder_gets_one_line(tmp_path, capsys):
    (tmp_path / "outputs").mkdir(mode=0o555)
    flags = ["--output_dir", str(tmp_path / "outputs"), "--log_dir", str(tmp_path / "runs")]
    assert main([*QUICK, *flags]) == 1
    assert "Permission denied" in capsys.readouterr().err


@slow
def test_an_output_folder_that_vanishes_gets_one_line(tmp_path):
    flags = [*QUICK, "--num_epochs", "3000", "--sample_every", "0", "--run_name", "gone", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, MAIN, *flags], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not process.stdout.readline().startswith("epoch "):
        pass
    (tmp_path / "outputs" / "gone").rename(tmp_path / "elsewhere")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1 and err.startswith("error: can't write") and err.count("\n") == 1
    assert load_state(tmp_path / "elsewhere")["epoch"] > 0
