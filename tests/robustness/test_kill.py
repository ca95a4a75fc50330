"""SIGKILL at random instants of a run: it can always be taken up, and ends with the bits of the run that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch
from small_runs import MAIN, QUICK, load_state
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EPOCHS = 16
FLAGS = [*QUICK, "--num_epochs", str(EPOCHS), "--sample_every", "2", "--checkpoint_every", "3", "--threads", "1"]
FLAGS += ["--batch_size", "8"]  # so that training takes its share of the time
KINDS = {
    "plain": ["--val_split", "0.1"],
    "flow": ["--ema", "0.9", "--prior", "flow", "--prior_width", "16", "--gif"],
}
PICTURES = {"plain": "tsne.png", "flow": "latent_scatter.gif"}
KILLS = int(os.environ.get("VAE_KILLS", "50"))  # in all


def start(cwd, *flags):
    command = [sys.executable, MAIN, *flags]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def phase(run_dir):
    """What a run that was killed had come to."""
    last = run_dir / "checkpoints/last.pt"
    if not last.exists():
        return "before the first checkpoint"
    if load_state(run_dir)["epoch"] < EPOCHS:
        return "training"
    return "closing" if not (run_dir / "results.json").exists() else "report and after"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives_being_killed_at_any_instant(tmp_path, kind):
    chosen = [*FLAGS, *KINDS[kind]]
    started = time.monotonic()
    whole = start(tmp_path, *chosen, "--run_name", "whole")
    assert whole.wait() == 0, whole.stderr.read()
    whole.stderr.close()
    seconds = time.monotonic() - started
    expected = load_state(tmp_path / "outputs/whole")
    rng, phases, runs = random.Random(0), Counter(), 0
    while phases.total() < KILLS / len(KINDS):
        name = f"killed{runs}"
        run_dir = tmp_path / "outputs" / name
        runs += 1
        code, err, flags = -signal.SIGKILL, "", [*chosen, "--run_name", name]
        while code == -signal.SIGKILL:
            process = start(tmp_path, *flags)
            try:
                process.wait(rng.uniform(0, 1.1 * seconds))
            except subprocess.TimeoutExpired:
                process.kill()
            code, err = process.wait(), process.stderr.read()
            process.stderr.close()
            if code == -signal.SIGKILL:
                phases[phase(run_dir)] += 1
            if code == -signal.SIGKILL and run_dir.exists():
                flags = ["--resume", str(run_dir)]
            elif code == 1 and "no checkpoint at" in err:  # killed before there was anything: it says so
                assert err.count("\n") == 1
                flags, code = [*chosen, "--run_name", name, "--overwrite"], -signal.SIGKILL
        assert code == 0, err
        state = load_state(run_dir)
        for entry in ("model_state", "trained_state"):
            assert state[entry].keys() == expected[entry].keys()
            assert all(torch.equal(state[entry][key], value) for key, value in expected[entry].items())
        rows = [json.loads(line)["epoch"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        events = EventAccumulator(str(tmp_path / "runs" / name)).Reload()
        assert rows == [event.step for event in events.Scalars("test/loss")] == list(range(1, EPOCHS + 1))
        for file in ("results.json", "report.html", PICTURES[kind]):
            assert (run_dir / file).exists(), file
        assert not list(run_dir.rglob(".*.tmp")), "what a killed process had half written"
    print(f"{kind}: {phases.total()} kills in {runs} runs: {dict(phases)}")
