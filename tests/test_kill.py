"""SIGKILL at random instants of a run: it can always be taken up, and ends with the bits of the run that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import QUICK, load_state
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MAIN = str(Path(__file__).parent.parent / "main.py")
FLAGS = [
    *QUICK,
    "--num_epochs",
    "8",
    "--sample_every",
    "2",
    "--checkpoint_every",
    "3",
    "--val_split",
    "0.1",
    "--threads",
    "1",
]
KILLS = int(os.environ.get("VAE_KILLS", "50"))


def start(cwd, *flags):
    command = [sys.executable, MAIN, *flags]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_run_survives_being_killed_at_any_instant(tmp_path):
    whole = start(tmp_path, *FLAGS, "--run_name", "whole")
    started = time.monotonic()
    assert whole.wait() == 0
    whole.stderr.close()
    seconds = time.monotonic() - started
    expected = load_state(tmp_path / "outputs/whole")["model_state"]
    rng, kills, runs = random.Random(0), 0, 0
    while kills < KILLS:
        name = f"killed{runs}"
        run_dir = tmp_path / "outputs" / name
        runs += 1
        code, err, flags = -signal.SIGKILL, "", [*FLAGS, "--run_name", name]
        while code == -signal.SIGKILL:
            process = start(tmp_path, *flags)
            try:
                process.wait(rng.uniform(0, 1.1 * seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            code, err = process.wait(), process.stderr.read()
            process.stderr.close()
            if code == -signal.SIGKILL and run_dir.exists():
                flags = ["--resume", str(run_dir)]
            elif code == 1 and "no checkpoint at" in err:  # killed before there was anything: it says so
                assert err.count("\n") == 1
                flags, code = [*FLAGS, "--run_name", name, "--overwrite"], -signal.SIGKILL
        assert code == 0, err
        state = load_state(run_dir)["model_state"]
        assert all(torch.equal(state[key], expected[key]) for key in expected)
        rows = [json.loads(line)["epoch"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        events = EventAccumulator(str(tmp_path / "runs" / name)).Reload()
        assert rows == [event.step for event in events.Scalars("test/loss")] == list(range(1, 9))
        assert (run_dir / "results.json").exists() and (run_dir / "tsne.png").exists()
    print(f"{kills} kills in {runs} runs")
