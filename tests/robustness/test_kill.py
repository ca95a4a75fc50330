"""SIGKILL at any instant of a run: it can always be resumed, and ends with the bits of the run that was not killed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from small_runs import MAIN, QUICK, ROOT, load_state, run_main, two_processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from main import main

EPOCHS = 10
FLAGS = ["--num_epochs", str(EPOCHS), "--checkpoint_every", "3", "--threads", "1"]
FLAGS += ["--batch_size", "8"]  # so that training takes its share of the time
KINDS = {
    "plain": ["--val_split", "0.1", "--sample_every", "2"],
    "flow": ["--ema", "0.9", "--prior", "flow", "--prior_width", "16", "--sample_every", "2", "--gif"],
}
PICTURES = {"plain": "tsne.png", "flow": "latent_scatter.gif"}
KILLS = int(os.environ.get("VAE_KILLS", "0"))  # at random instants, in all
PHASES = {"epoch ": "training", "t-SNE of": "closing", "writing the report": "report and after"}  # by their first line


def start(cwd, *flags, stdout=subprocess.DEVNULL):
    command = [sys.executable, MAIN, *QUICK, *flags] if "--resume" not in flags else [sys.executable, MAIN, *flags]
    return subprocess.Popen(command, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True)


def assert_same_end(root, name, expected):
    """The weights of `expected`, each epoch recorded once, and nothing half-written."""
    run_dir = root / "outputs" / name
    state = load_state(run_dir)
    for entry in ("model_state", "trained_state"):
        assert state[entry].keys() == expected[entry].keys()
        assert all(torch.equal(state[entry][key], value) for key, value in expected[entry].items())
    rows = [json.loads(line)["epoch"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    # Files of one second are read in any order, which purging would take for a restart.
    events = EventAccumulator(str(root / "runs" / name / "test"), purge_orphaned_data=False).Reload()
    steps = sorted({event.step for event in events.Scalars("losses/-elbo")})
    assert rows == steps == list(range(1, expected["epoch"] + 1))
    assert (run_dir / "results.json").exists() and (run_dir / "report.html").exists()
    assert not list(run_dir.rglob(".*.tmp"))


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    flags = ["--num_epochs", "5", "--batch_size", "16", "--sample_every", "0", "--threads", "1"]
    assert run_main(tmp_path, *flags, "--run_name", "whole", "--quiet") == 0
    process = start(tmp_path, *flags, "--run_name", "killed", stdout=subprocess.PIPE)
    while not process.stdout.readline().startswith("epoch "):
        pass
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "outputs/killed/results.json").exists()
    assert main(["--resume", str(tmp_path / "outputs/killed"), "--quiet"]) == 0
    assert_same_end(tmp_path, "killed", load_state(tmp_path / "outputs/whole"))


def phase(run_dir):
    """How far a run had come when it was killed."""
    if not (run_dir / "checkpoints/last.pt").exists():
        return "before the first checkpoint"
    if load_state(run_dir)["epoch"] < EPOCHS:
        return "training"
    return "closing" if not (run_dir / "results.json").exists() else "report and after"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives_being_killed_in_each_of_its_phases(tmp_path, kind):
    flags = [*KINDS[kind], "--num_epochs", str(EPOCHS), "--threads", "1", "--batch_size", "64"]
    assert run_main(tmp_path, *flags, "--run_name", "whole", "--quiet") == 0
    run_dir = tmp_path / "outputs/killed"
    given = [*flags, "--run_name", "killed"]
    for line, expected in PHASES.items():
        process = start(tmp_path, *given, stdout=subprocess.PIPE)
        while not process.stdout.readline().startswith(line):
            assert process.poll() is None
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL and phase(run_dir) == expected
        given = ["--resume", str(run_dir)]
    assert main([*given, "--quiet"]) == 0
    assert_same_end(tmp_path, "killed", load_state(tmp_path / "outputs/whole"))
    assert (run_dir / PICTURES[kind]).exists()


@pytest.mark.slow
@pytest.mark.skipif(not KILLS, reason="VAE_KILLS says how many")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives_being_killed_at_any_instant(tmp_path, kind):
    flags = [*FLAGS, *KINDS[kind]]
    started = time.monotonic()
    whole = start(tmp_path, *flags, "--run_name", "whole")
    assert whole.wait() == 0, whole.stderr.read()
    whole.stderr.close()
    seconds = time.monotonic() - started
    expected = load_state(tmp_path / "outputs/whole")
    rng, phases, runs = random.Random(0), Counter(), 0
    while phases.total() < KILLS / len(KINDS):
        name = f"killed{runs}"
        run_dir = tmp_path / "outputs" / name
        runs += 1
        code, err, given = -signal.SIGKILL, "", [*flags, "--run_name", name]
        waits = [rng.uniform(0, 1.1 * seconds) for _ in range(3)]
        while code == -signal.SIGKILL:
            process = start(tmp_path, *given)
            try:
                process.wait(waits.pop() if waits else None)
            except subprocess.TimeoutExpired:
                process.kill()
            code, err = process.wait(), process.stderr.read()
            process.stderr.close()
            if code == -signal.SIGKILL:
                phases[phase(run_dir)] += 1
            if code == -signal.SIGKILL and run_dir.exists():
                given = ["--resume", str(run_dir)]
            elif code == 1 and "no checkpoint at" in err:  # killed before there was anything: it says so
                assert err.count("\n") == 1
                given, code = [*flags, "--run_name", name, "--overwrite"], -signal.SIGKILL
        assert code == 0, err
        assert_same_end(tmp_path, name, expected)
        assert (run_dir / PICTURES[kind]).exists()
    print(f"{kind}: {phases.total()} kills in {runs} runs: {dict(phases)}")


@pytest.mark.slow
def test_killed_seeds_resume_to_the_same_bits(tmp_path):
    flags = ["--num_epochs", "3", "--batch_size", "16", "--sample_every", "0", "--threads", "1", "--seeds", "0", "1"]
    assert run_main(tmp_path, *flags, "--run_name", "whole", "--quiet") == 0
    process = start(tmp_path, *flags, "--run_name", "killed", stdout=subprocess.PIPE)
    seen = []
    while seen.count("epoch 1/3") < 2:  # of the second seed
        seen.append(process.stdout.readline()[: len("epoch 1/3")])
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert main(["--resume", str(tmp_path / "outputs/killed"), "--quiet"]) == 0
    for name in ("seed-0", "seed-1"):
        assert_same_end(tmp_path, f"killed/{name}", load_state(tmp_path / "outputs/whole" / name))
    assert json.loads((tmp_path / "outputs/killed/seeds.json").read_text())["test"]["loss"]["n"] == 2


WORKERS = ["--num_epochs", "3", "--batch_size", "8", "--sample_every", "0", "--device", "cpu", "--run_name", "x"]
SRUN = """#!/bin/bash
shift  # of srun's own flags there is one
for node in $(seq "$SLURM_NNODES"); do "$@" & done
for node in $(seq "$SLURM_NNODES"); do wait -n || exit; done
"""
SCONTROL = """#!/bin/bash
echo localhost
"""


def start_slurm(root):
    """The script for Slurm, with two torchrun on this machine that meet at a port in the place of two nodes."""
    (root / "bin").mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    slurm = {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "localhost", "SLURM_SUBMIT_DIR": str(ROOT), "PROCESSES": "1"}
    slurm |= {"SLURM_JOB_ID": str(random.randrange(20_000)), "OMP_NUM_THREADS": "1"}
    slurm["PATH"] = f"{root / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(ROOT / "examples" / "train.slurm"), *QUICK, *WORKERS]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env={**os.environ, **slurm}, start_new_session=True, **streams)


def worker_of(root, rank):
    """The process of a rank that works below `root`."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            is_ours = (process / "cwd").readlink() == root
            if is_ours and f"RANK={rank}".encode() in (process / "environ").read_bytes().split(b"\0"):
                return int(process.name)
    raise AssertionError(f"no rank {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for workers in /proc")
def test_killed_workers_of_two_nodes_are_started_again_and_the_run_ends_with_the_same_bits(tmp_path):
    """The main process first; with VAE_KILLS the other one too."""
    unbroken = [f"--{name}_dir={tmp_path / 'unbroken' / name}s" for name in ("output", "data")]
    two_processes(*QUICK, *WORKERS, *unbroken, f"--log_dir={tmp_path / 'unbroken/runs'}", "--quiet", per_node=1)
    root, lines = tmp_path / "killed", []
    to_kill = {"epoch 1/": 0, "epoch 2/": 1} if KILLS else {"epoch 1/": 0}  # ranks, each after a line
    root.mkdir()
    with start_slurm(root) as process:
        try:
            for line in process.stdout:
                lines.append(line)
                if (rank := to_kill.pop(line[: len("epoch 1/")], None)) is not None:
                    time.sleep(0.1)  # into the next epoch
                    os.kill(worker_of(root, rank), signal.SIGKILL)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0 and not to_kill, "".join(lines)
    assert "  resume  after epoch 1 of 3\n" in lines
    assert not any(line.startswith("[rank") for line in lines)  # a worker's traceback
    assert_same_end(root, "x", load_state(tmp_path / "unbroken/outputs/x"))
