"""Damaged and hostile files of a run, through every door: used, or refused in one line, and no code of theirs runs."""

import copy
import os
import pickle
import random
import resource
import shutil
import zipfile
from collections import Counter

import pytest
import torch
from mutants import mutate
from small_runs import load_state, run_main

from main import main
from vae import load_model, open_run
from vae.data import datasets as data_module
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UserError

MUTANTS = int(os.environ.get("VAE_MUTANTS", "12"))  # for each door and kind of damage; ten times as many for load_model
ODD = [None, -1, 0, 3, 10**400, 2**31 - 2, 2**40, -0.5, float("nan"), float("inf"), True, b"x", "", "x", "../.."]
ODD += ["a" * 10_000, "\x1b[31m", "<script>", {}, {"a": 1}, {1: 2}, [], [None], [1, 2], [1, 2**30, 2**30], (), (1,)]
ODD += [torch.zeros(0), torch.zeros(2), torch.tensor(float("nan")), torch.zeros(3, dtype=torch.int64)]
ODD += [torch.zeros(1).expand(2**40), torch.zeros(2, 2, dtype=torch.complex64), torch.zeros(1, dtype=torch.bool)]
ODD += [torch.empty(3, device="meta"), torch.zeros(2, 2).to_sparse()]


def nested():
    """Small in a file, where each list is named once; endless for whoever prints it."""
    value = ["x"]
    for _ in range(40):
        value = [value] * 10
    return value


def swap(value, rng):
    """The same tree with an entry somewhere replaced, removed, doubled or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.93:
        value, key, way = dict(value), rng.choice(list(value)), rng.random()
        if way < 0.08:
            del value[key]
        elif way < 0.12:
            value[rng.choice(["extra", 7, key * 2 if isinstance(key, str) else 0])] = value[key]
        else:
            value[key] = swap(value[key], rng)
        return value
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.8:
        items, index = list(value), rng.randrange(len(value))
        items[index] = swap(items[index], rng)
        return type(value)(items)
    if isinstance(value, torch.Tensor) and rng.random() < 0.5:
        shapes = [value[:0] if value.ndim else value, value.flatten(), value.unsqueeze(0)]
        return rng.choice([*shapes, value.double(), value * torch.nan])
    return copy.copy(rng.choice([*ODD, nested()]))


@pytest.fixture(scope="module", autouse=True)
def few_images():
    """The digits, few of them."""
    few = tuple(data_module.Split(split.images[:40], split.labels[:40]) for split in data_module._load_digits())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_module, "_load_digits", lambda: few)
        yield


@pytest.fixture(scope="module")
def tiny_run(few_images, tmp_path_factory):
    """Root of a run of few images and one epoch, quick to continue."""
    root = tmp_path_factory.mktemp("tiny")
    flags = ["--hidden_dims", "4", "--val_split", "0.2", "--ema", "0.9", "--sample_every", "0", "--tsne_samples", "10"]
    assert run_main(root, "--run_name", "whole", "--num_epochs", "1", "--quiet", *flags) == 0
    return root


def through_load_model(run_dir):
    load_model(run_dir).sample(2)


def through_open_run(run_dir):
    trained = open_run(run_dir, device="cpu")
    assert len(trained.subtitle()) < 1000 and len(trained.class_names) <= 100
    trained.split("test")


def through_report(run_dir):
    open_run(run_dir).report(run_dir.parent / "report.html")


def through_resume(run_dir):
    return main(["--resume", str(run_dir), "--num_epochs", "2", "--quiet", "--device", "cpu"])


def through_commands(run_dir):
    flags = ["--run", str(run_dir), "--overwrite", "--quiet", "--device", "cpu"]
    flags += ["--output", str(run_dir.parent / "out")]
    sample = main(["sample", "--format", "npz", "--num_samples", "2", *flags])
    return max(sample, main(["evaluate", "--num_importance_samples", "0", *flags]))


DOORS = {
    "load_model": through_load_model,
    "open_run": through_open_run,
    "report": through_report,
    "resume": through_resume,
    "commands": through_commands,
}
each_door = pytest.mark.parametrize("door", DOORS)


@pytest.fixture
def attempt(tiny_run, tmp_path, capsys):
    """Harm a fresh copy of the run and open it; returns the lines that refuse it, or none if it is used."""
    run_dir = tmp_path / "outputs/whole"

    def attempt(door, harm):
        for folder in ("outputs", "runs"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
            shutil.copytree(tiny_run / folder, tmp_path / folder, symlinks=True)
        harm(run_dir)
        try:
            code = DOORS[door](run_dir)
        except UserError as error:
            return [str(error)]
        lines = capsys.readouterr().err.splitlines()
        assert bool(lines) == bool(code) and all(line.startswith("error: ") for line in lines), lines
        return lines

    return attempt


def assert_short(lines, name):
    assert all(line.isprintable() and len(line) < 1000 for line in lines), (name, lines)


@pytest.mark.filterwarnings("ignore")  # torch and zipfile warn of what they find odd
@pytest.mark.parametrize("kind", ["swapped entries", "flipped bytes"])
@each_door
def test_a_damaged_checkpoint_is_used_or_refused_in_one_line(tiny_run, attempt, door, kind):
    last = "checkpoints/last.pt"
    state, content = load_state(tiny_run / "outputs/whole"), (tiny_run / "outputs/whole" / last).read_bytes()
    before, count = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, MUTANTS * (10 if door == "load_model" else 1)
    outcomes = Counter()
    for number in range(count):
        rng = random.Random(number)

        def harm(run_dir, rng=rng):
            if kind == "flipped bytes":
                (run_dir / last).write_bytes(mutate(content, rng))
            else:
                torch.save(swap(state, rng), run_dir / last)

        try:
            lines = attempt(door, harm)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert_short(lines, number)
        outcomes["refused" if lines else "used"] += 1
    assert outcomes["refused"] > count / 10 and (outcomes["used"] or kind == "flipped bytes"), outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "a gigabyte more at its peak"


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "results.json"])
@pytest.mark.parametrize("door", ["report", "resume"])
def test_a_torn_or_overwritten_file_of_a_run_is_used_or_refused_in_one_line(attempt, door, name):
    for tear in (lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"<html>", lambda _: b"\xff\0"):

        def harm(run_dir, tear=tear):
            (run_dir / name).write_bytes(tear((run_dir / name).read_bytes()))

        assert_short(attempt(door, harm), name)


SWOLLEN = 400  # megabytes, in an archive of less than one


def rezip(source, target, *, replaced=None):
    """Pack an archive anew, with other contents under the given names: bytes, or so many megabytes of nothing."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = (replaced or {}).get(entry.filename.partition("/")[2], old.read(entry))
            if isinstance(content, bytes):
                new.writestr(entry.filename, content)
                continue
            packed = zipfile.ZipInfo(entry.filename)
            packed.compress_type = zipfile.ZIP_DEFLATED
            with new.open(packed, "w") as stream:
                for _ in range(content):
                    stream.write(bytes(1_000_000))


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused_unread(tiny_run, tmp_path):
    last = tiny_run / "outputs/whole/checkpoints/last.pt"
    rezip(last, tmp_path / "same.pt")
    load_model(tmp_path / "same.pt")  # the way of packing is no fault
    rezip(last, tmp_path / "bomb.pt", replaced={"data/0": SWOLLEN})
    assert (tmp_path / "bomb.pt").stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for opened in (load_model, open_run):
        with pytest.raises(CheckpointError, match="or it is damaged"):
            opened(tmp_path / "bomb.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


class Payload:
    """What a pickle does when it is loaded by someone careless."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (open, (str(self.victim), "w"))


@pytest.mark.parametrize("place", ["config", "model_state", "the whole file", "the archive's pickle"])
@each_door
def test_code_in_a_checkpoint_is_refused_unexecuted(attempt, tmp_path, door, place):
    victim = tmp_path / "victim"

    def harm(run_dir):
        last = run_dir / "checkpoints/last.pt"
        if place == "the whole file":
            last.write_bytes(pickle.dumps(Payload(victim)))
        elif place == "the archive's pickle":
            rezip(last, tmp_path / "x.pt", replaced={"data.pkl": pickle.dumps(Payload(victim), protocol=2)})
            (tmp_path / "x.pt").replace(last)
        else:
            torch.save({**torch.load(last, weights_only=True), place: Payload(victim)}, last)

    lines = attempt(door, harm)
    assert lines and all("not a checkpoint of this program, or it is damaged" in line for line in lines)
    assert not victim.exists()
