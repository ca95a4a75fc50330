"""A run's folders: their names, --overwrite, and the lock."""

import shutil
import subprocess
import sys

import pytest
import torch
from small_runs import load_state, run_main

from main import main
from vae.config import Config
from vae.runs import folders

EPOCH = ["--num_epochs", "1", "--sample_every", "0", "--quiet"]


def test_a_taken_name_is_refused_and_overwrite_replaces_the_run(tmp_path, capsys, no_finish):
    flags = [*EPOCH, "--run_name", "mine"]
    assert run_main(tmp_path, *flags, "--seed", "1") == 0
    first = load_state(tmp_path / "outputs/mine")["model_state"]["encoder.head.bias"]
    assert run_main(tmp_path, *flags, "--seed", "2") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert torch.equal(first, load_state(tmp_path / "outputs/mine")["model_state"]["encoder.head.bias"])
    assert run_main(tmp_path, *flags, "--seed", "2", "--overwrite") == 0
    assert not torch.equal(first, load_state(tmp_path / "outputs/mine")["model_state"]["encoder.head.bias"])


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("outputs", {"chapter1": "precious"}),
        ("outputs", {"config.json": "{}", "index.html": "<html>"}),  # another program's
        ("outputs", {".git": "precious"}),
        ("runs", {"chapter1": "precious"}),
        ("runs", {"train": "precious"}),
        ("runs", {"events.out.tfevents.1": "", "test/thesis.tex": "precious"}),
    ],
)
def test_overwrite_never_takes_a_folder_that_is_no_run(tmp_path, capsys, folder, files):
    (tmp_path / folder / "thesis").mkdir(parents=True)
    for name, text in files.items():
        path = tmp_path / folder / "thesis" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert run_main(tmp_path, "--run_name", "thesis", "--overwrite") == 2
    assert "is not a run of this program" in capsys.readouterr().err
    kept = [path for path in (tmp_path / folder / "thesis").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / folder / "thesis")): path.read_text() for path in kept} == files


def test_overwrite_takes_a_run_that_was_killed_before_it_wrote_anything(tmp_path, no_finish):
    for folder in ("outputs", "runs"):
        (tmp_path / folder / "x").mkdir(parents=True)
    for name in (".lock", ".config.json.123.tmp"):
        (tmp_path / "outputs/x" / name).touch()
    assert run_main(tmp_path, *EPOCH, "--run_name", "x", "--overwrite") == 0
    assert load_state(tmp_path / "outputs/x")["epoch"] == 1 and not list((tmp_path / "outputs/x").glob(".*.tmp"))


def test_unnamed_runs_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    config = Config(output_dir=str(tmp_path / "outputs"), log_dir=str(tmp_path / "runs"))
    frozen = folders.datetime(2030, 1, 2, 3, 4, 5)
    monkeypatch.setattr(folders, "datetime", type("Frozen", (), {"now": staticmethod(lambda: frozen)}))
    names = [folders.create(config).run_dir.name for _ in range(3)]
    assert names == [f"20300102-030405-mlp-512-2d{suffix}" for suffix in ("", "-2", "-3")]


def test_latest_moves_to_the_newest_run_and_threads_are_set(tmp_path, no_finish):
    for name in ("one", "two"):
        assert run_main(tmp_path, *EPOCH, "--run_name", name, "--threads", "1") == 0
        assert (tmp_path / "outputs/latest").resolve().name == name
    assert 'cpu, 1 thread"' in (tmp_path / "outputs/two/config.json").read_text()


def test_an_unwritable_place_gets_one_line(tmp_path, capsys):
    (tmp_path / "outputs").write_text("a file")
    assert run_main(tmp_path, "--num_epochs", "1") == 1
    assert "can't make the run's folders" in capsys.readouterr().err


def test_a_run_in_training_is_not_resumed_by_another_process_until_that_dies(finished_run, tmp_path, capsys, no_finish):
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    lock, run_dir = tmp_path / "outputs/whole/.lock", str(tmp_path / "outputs/whole")
    code = "import sys, time; from vae.system.files import take_lock; from pathlib import Path\n"
    code += "with take_lock(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert main(["--resume", run_dir]) == 1
        assert "is being trained by another process" in capsys.readouterr().err
    finally:
        holder.kill()
        holder.communicate()
    assert main(["--resume", run_dir, "--quiet"]) == 0
