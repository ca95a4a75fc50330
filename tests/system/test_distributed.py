"""Two processes on the CPU, as torchrun starts them, train as one does."""

import json
import os
import signal

import pytest
import torch
from small_runs import QUICK, load_state, two_processes

from main import main
from vae.config import Config
from vae.runs.run import Run
from vae.system.console import Console
from vae.system.distributed import (
    SINGLE_PROCESS,
    ProcessGroup,
    ProcessLostError,
    process_group,
)
from vae.system.errors import UsageError
from vae.system.stopping import Stopped, Stopper

FLAGS = ["--num_epochs", "2", "--precision", "fp32", "--val_split", "0.1", "--sample_every", "0", "--quiet"]
RECORD = (
    "--prior flow --objective iwae --num_samples_train 3 --ema 0.9 --augment 0.5 --augment_labels --binarize dynamic"
)
PHASES = "--num_epochs 3 --objective dreg --num_samples_train 2 --elbo_until 0.67 --augment 0.5 --compile on"
METHODS = {"plain": [], "record": RECORD.split(" "), "phases": PHASES.split(" ")}


def places(root):
    return ["--output_dir", str(root / "outputs"), "--log_dir", str(root / "runs"), "--data_dir", str(root / "data")]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_what_one_does(tmp_path, method):
    """The same global batches and noise: equal within the rounding of sums taken in another order.

    With 1,293 images and batches of 256, the last one of 13 is uneven for two.
    """
    flags = [*QUICK, *FLAGS, *METHODS[method]]
    assert main([*flags, *places(tmp_path / "one"), "--run_name", "x", "--compile", "off"]) == 0
    two_processes(*flags, *places(tmp_path / "two"), "--run_name", "x")
    one, two = (load_state(tmp_path / name / "outputs" / "x") for name in ("one", "two"))
    for name, value in one["model_state"].items():
        torch.testing.assert_close(two["model_state"][name], value, rtol=1e-3, atol=1e-5)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "outputs" / "x" / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert [row["epoch"] for row in rows[1]] == [row["epoch"] for row in rows[0]]  # one process wrote
    for first, second in zip(*rows, strict=True):
        for key in ("train/loss", "train/kl", "val/loss", "test/loss", "test/kl"):
            assert second[key] == pytest.approx(first[key], rel=1e-4), key
    assert len(list((tmp_path / "two" / "runs" / "x").glob("events*"))) == len(
        list((tmp_path / "one" / "runs" / "x").glob("events*"))
    )


@pytest.mark.slow
def test_two_processes_score_what_one_does_to_the_bit(tmp_path, finished_run):
    """Of importance-weighted bounds; the ELBO's chunks are other ones, within rounding."""
    command = ["evaluate", "--run", str(finished_run / "outputs/whole"), "--num_importance_samples", "60", "--quiet"]
    command += ["--data_dir", str(tmp_path), "--device", "cpu", "--output"]
    two_processes(*command, str(tmp_path / "two.json"))
    assert main([*command, str(tmp_path / "one.json")]) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert two["measured"] == one["measured"]
    assert two["test"]["loss"] == pytest.approx(one["test"]["loss"], rel=1e-6)


@pytest.mark.parametrize("command", ["sample", "list"])
def test_commands_for_a_single_process_say_so(monkeypatch, capsys, command):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([command]) == 2
    assert capsys.readouterr().err == f"error: {command} is for a single process: start it without torchrun\n"


LOST = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer")


@pytest.mark.parametrize(
    ("error", "signalled", "raised"),
    [(LOST, False, ProcessLostError), (LOST, True, Stopped), (RuntimeError("shapes"), True, RuntimeError)],
)
def test_a_lost_process_is_told_from_a_bug_and_from_a_signal(error, signalled, raised):
    with Stopper() as stopper, pytest.raises(raised), ProcessGroup(1, 2).watched():
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopper.received
        raise error


def test_who_waits_for_the_others_obeys_a_signal(monkeypatch):
    class Never:
        def is_completed(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return False

    monkeypatch.setattr(torch.distributed, "barrier", lambda **options: Never())
    with Stopper(), pytest.raises(Stopped):
        ProcessGroup(1, 2).wait_for_all()


def test_shards_are_disjoint_and_complete():
    for size in (1, 2, 3):
        shards = [ProcessGroup(rank, size).shard(torch.arange(10)).tolist() for rank in range(size)]
        assert sorted(index for shard in shards for index in shard) == list(range(10))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert ProcessGroup(1, 2).shard(torch.arange(6).reshape(2, 3), dim=1).tolist() == [[1], [4]]


def test_without_torchrun_there_is_a_single_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as processes:
        assert processes == SINGLE_PROCESS and processes.is_main


def test_one_named_device_is_refused_for_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--device cuda:1 is not for 2 processes"), process_group("cuda:1"):
        pass


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "x"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": ""}, {"WORLD_SIZE": "2", "RANK": "0"}],
    ids=str,
)
def test_an_incomplete_torchrun_environment_gets_one_line(environment, monkeypatch, tmp_path, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main([*QUICK, *FLAGS, *places(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "with torchrun" in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "rank", "waits"), [("2", "0", []), ("2", "1", [3]), ("1", "1", [])])
def test_of_several_processes_the_main_one_tells_a_mistake_first_and_a_leftover_rank_is_no_other(
    monkeypatch, capsys, size, rank, waits
):
    """torchrun ends the others when the main process has failed; one that it doesn't end is alone with its mistake."""
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", rank)
    assert main(["--num_epochs", "0"]) == 2 and "--num_epochs 0" in capsys.readouterr().err
    assert waited == waits


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"batch_size": 2}, "--batch_size 2: 3 processes share a batch"),
        ({"tc_weight": 6.0}, "--tc_weight compares all"),
    ],
)
def test_a_batch_that_can_t_be_shared_is_refused(knobs, message):
    with pytest.raises(UsageError, match=message):
        Run(Config(**knobs), console=Console(quiet=True), processes=ProcessGroup(0, 3))
