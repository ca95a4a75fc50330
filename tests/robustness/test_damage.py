"""Damaged and hostile files of a run, through every door: used, or refused in one line; nothing hangs or swells."""

import copy
import json
import os
import pickle
import random
import resource
import shutil
import time
import zipfile
from collections import Counter

import pytest
import torch
from mutants import mutate
from small_runs import load_state, run_main

from main import main
from vae import load_model, open_run, write_report
from vae.data import datasets as data_module
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UserError

MUTANTS = int(os.environ.get("VAE_MUTANTS", "30"))  # for each door and kind of damage; 400 make 4,800
SLOWEST = 20  # seconds, on a machine that is shared
ODD = [
    None,
    -1,
    0,
    3,
    10**400,
    2**31 - 2,
    2**40,
    -0.5,
    float("nan"),
    float("inf"),
    True,
    b"x",
    "",
    "x",
    "../..",
    "a" * 10_000,
]
ODD += ["\x1b[31m", "<script>", {}, {"a": 1}, {1: 2}, [], [None], [1, 2], [1, 2**30, 2**30], ["x"] * 10, (), (1,)]
TENSORS = [torch.zeros(0), torch.zeros(2), torch.tensor(float("nan")), torch.zeros(3, dtype=torch.int64)]
TENSORS += [torch.zeros(1).expand(2**40), torch.zeros(2, 2, dtype=torch.complex64), torch.zeros(1, dtype=torch.bool)]
TENSORS += [torch.empty(3, device="meta"), torch.zeros(2, 2).to_sparse()]


def nested():
    """Small in a file, where each list is named once; endless for whoever prints it."""
    value = ["x"]
    for _ in range(40):
        value = [value] * 10
    return value


def swap(value, rng, *, odd):
    """The same tree with an entry somewhere replaced, removed, doubled or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.93:
        value, key = dict(value), rng.choice(list(value))
        chosen = rng.random()
        if chosen < 0.08:
            del value[key]
        elif chosen < 0.12:
            value[rng.choice(["extra", 7, key * 2 if isinstance(key, str) else 0])] = value[key]
        else:
            value[key] = swap(value[key], rng, odd=odd)
        return value
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.8:
        items, index = list(value), rng.randrange(len(value))
        items[index] = swap(items[index], rng, odd=odd)
        return type(value)(items)
    if isinstance(value, torch.Tensor) and rng.random() < 0.5:
        return rng.choice(
            [value[:0] if value.ndim else value, value.double(), value.flatten(), value.unsqueeze(0), value * torch.nan]
        )
    return copy.copy(rng.choice(odd))


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of few images and one epoch of two, quick to continue; its root."""
    root = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        flags = ["--hidden_dims", "4", "--val_split", "0.2", "--ema", "0.9", "--sample_every", "0"]
        assert (
            run_main(root, "--run_name", "whole", "--num_epochs", "1", "--tsne_samples", "10", "--quiet", *flags) == 0
        )
    return root


def few(patch):
    """The digits, few of them, and no closing pictures."""
    real = data_module._load_digits()
    small = tuple(data_module.Split(split.images[:40], split.labels[:40]) for split in real)
    patch.setattr(data_module, "_load_digits", lambda: small)


@pytest.fixture
def few_images(monkeypatch):
    few(monkeypatch)


class Doors:
    """What opens a run's files; each raises a `UserError` or returns."""

    def __init__(self, run_dir, tmp_path):
        self.run_dir, self.tmp_path = run_dir, tmp_path

    def load_model(self):
        load_model(self.run_dir).sample(2)

    def open_run(self):
        trained = open_run(self.run_dir, device="cpu")
        assert len(trained.subtitle()) < 1000 and len(trained.class_names) <= 100
        trained.split("test")

    def write_report(self):
        write_report(self.run_dir, self.tmp_path / "report.html")

    def resume(self):
        self.refused(main(["--resume", str(self.run_dir), "--num_epochs", "2", "--quiet", "--device", "cpu"]))

    def command(self):
        flags = ["--checkpoint", str(self.run_dir / "checkpoints/last.pt"), "--overwrite", "--quiet", "--device", "cpu"]
        for command in (["sample", "--format", "npz", "--num_samples", "2"], ["evaluate"]):
            self.refused(main([*command, *flags, "--output", str(self.tmp_path / "out")]))

    def refused(self, code):
        if code:
            raise UserError(self.capsys.readouterr().err.removesuffix("\n").removeprefix("error: "))


DOORS = ("load_model", "open_run", "write_report", "resume", "command")


@pytest.fixture
def doors(tiny_run, tmp_path, few_images, capsys, monkeypatch):
    monkeypatch.setattr("vae.runs.run.finish", lambda *args, **more: None)  # pictures: slow, and they read no file
    shutil.copytree(tiny_run, tmp_path / "root")
    found = Doors(tmp_path / "root/outputs/whole", tmp_path)
    found.capsys = capsys
    return found


def fresh(doors, tiny_run):
    for folder in ("outputs", "runs"):
        shutil.rmtree(doors.tmp_path / "root" / folder)
        shutil.copytree(tiny_run / folder, doors.tmp_path / "root" / folder, symlinks=True)


def try_all(doors, tiny_run, door, damage):
    """Damage a copy of the run, again and again, and open it; returns how many were refused."""
    outcomes, before = Counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(MUTANTS):
        fresh(doors, tiny_run)
        rng, started = random.Random(number), time.monotonic()
        damage(doors.run_dir, rng)
        try:
            getattr(doors, door)()
            outcomes["used"] += 1
        except UserError as error:
            outcomes["refused"] += 1
            assert str(error).isprintable() and len(str(error)) < 1000, (number, str(error)[:2000])
        except Exception as error:
            error.add_note(f"mutant {number}")
            raise
        assert time.monotonic() - started < SLOWEST, number
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "a gigabyte more at its peak"
    return outcomes


@pytest.mark.filterwarnings("ignore")  # torch warns of what it finds odd
@pytest.mark.parametrize("door", DOORS)
def test_a_checkpoint_with_swapped_entries_is_used_or_refused_in_one_line(doors, tiny_run, door):
    state = load_state(tiny_run / "outputs/whole")

    def damage(run_dir, rng):
        torch.save(swap(state, rng, odd=[*ODD, *TENSORS, nested()]), run_dir / "checkpoints/last.pt")

    outcomes = try_all(doors, tiny_run, door, damage)
    assert outcomes["refused"] > MUTANTS / 10 and outcomes["used"], outcomes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("door", DOORS)
def test_a_run_s_files_with_flipped_bytes_are_used_or_refused_in_one_line(doors, tiny_run, door):
    def damage(run_dir, rng):
        names = ["checkpoints/last.pt", "config.json", "metrics.jsonl", "results.json"]
        path = run_dir / rng.choice(names if door in ("write_report", "resume") else names[:1])
        path.write_bytes(mutate(path.read_bytes(), rng))

    try_all(doors, tiny_run, door, damage)


@pytest.mark.parametrize("door", ["write_report", "resume"])
def test_a_run_s_json_with_swapped_entries_is_used_or_refused_in_one_line(doors, tiny_run, door):
    def damage(run_dir, rng):
        path = run_dir / rng.choice(["config.json", "metrics.jsonl", "results.json"])
        value = swap(json.loads(path.read_text()), rng, odd=[odd for odd in ODD if odd != b"x"])
        path.write_text(json.dumps(value, default=str) + "\n")

    outcomes = try_all(doors, tiny_run, door, damage)
    assert outcomes["used"], outcomes


BOMB = 1_000_000_000  # bytes, in an archive of one million


def rezip(source, target, *, method=zipfile.ZIP_STORED, change=lambda name, content: content):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused_unread(tiny_run, tmp_path):
    last = tiny_run / "outputs/whole/checkpoints/last.pt"
    rezip(last, tmp_path / "same.pt")
    load_model(tmp_path / "same.pt")  # the way of packing is no fault
    swell = {"data/0": bytes(BOMB)}
    rezip(
        last,
        tmp_path / "bomb.pt",
        method=zipfile.ZIP_DEFLATED,
        change=lambda name, content: swell.get(name.partition("/")[2], content),
    )
    swell.clear()
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for opened in (load_model, open_run):
        with pytest.raises(CheckpointError, match="or it is damaged"):
            opened(tmp_path / "bomb.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss == before


class Payload:
    """What a pickle does when it is loaded by someone careless."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (open, (str(self.victim), "w"))


@pytest.mark.parametrize("place", ["config", "model_state", "optimizer_state", "shown", "alone", "in the archive"])
def test_a_payload_is_refused_unexecuted_by_every_door(doors, tmp_path, place):
    victim, last = tmp_path / "victim", doors.run_dir / "checkpoints/last.pt"
    state = torch.load(last, weights_only=True)
    if place == "alone":
        last.write_bytes(pickle.dumps(Payload(victim)))
    elif place == "in the archive":
        code = pickle.dumps(Payload(victim), protocol=2)
        rezip(last, tmp_path / "x.pt", change=lambda name, content: code if name.endswith("data.pkl") else content)
        (tmp_path / "x.pt").replace(last)
    else:
        torch.save({**state, place: Payload(victim)}, last)
    for door in DOORS:
        with pytest.raises(UserError, match="no checkpoint of ours, or it is damaged"):
            getattr(doors, door)()
    assert not victim.exists()
