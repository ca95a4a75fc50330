"""Odd names and places, and processes that meet: everything lands where the flags say, and nothing elsewhere."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import QUICK, ROOT, load_state, run_main

from main import main
from vae.runs.run import Run
from vae.system.files import take_lock

SHORT = [*QUICK, "--num_epochs", "1", "--sample_every", "0", "--threads", "1"]


def start(cwd, *flags, program=ROOT / "main.py"):
    command = [sys.executable, str(program), *flags]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files_below(*folders):
    return {path for folder in folders for path in folder.rglob("*")}


NAMES = ["with spaces", "Größe 日本 🐱", "n" * 120, "a&b;$(id)'%s{0}"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_run_names_are_names(tmp_path, name):
    assert run_main(tmp_path, *SHORT, "--run_name", name, "--quiet") == 0
    run_dir = tmp_path / "outputs" / name
    assert (run_dir / "report.html").exists() and list((tmp_path / "runs" / name).glob("events*"))
    assert main(["--resume", str(run_dir), "--num_epochs", "2", "--quiet"]) == 0
    assert main(["sample", "--run", str(run_dir), "--quiet", "--device", "cpu"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "runs"}
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {name, "latest"}


def test_names_that_lead_elsewhere_are_refused(tmp_path, capsys):
    assert run_main(tmp_path, *SHORT, "--run_name", "a?") == 2
    assert r'/ \ : * ? " < > |' in capsys.readouterr().err
    names = ["..", ".", "../x", "/tmp/x", "a/b", "a\\b", "C:x", "latest", " x", "-x", "x\0", "x\n", "n" * 121, "é" * 61]
    for name in names:
        assert run_main(tmp_path, *SHORT, f"--run_name={name}") == 2, name
        assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir()), name


def test_a_net_of_many_layers_gets_a_folder_s_name_that_fits(tmp_path):
    assert run_main(tmp_path, *SHORT, "--hidden_dims", *["8"] * 150, "--quiet") == 0
    (run_dir,) = (path for path in (tmp_path / "outputs").iterdir() if not path.is_symlink())
    assert len(run_dir.name) <= 120 and load_state(run_dir)["config"]["hidden_dims"] == (8,) * 150


def test_links_that_lead_in_circles_get_one_line(tmp_path, monkeypatch, capsys, finished_run):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert main([*SHORT, "--output_dir", "loop/x"]) != 0
    assert main([*SHORT, "--dataset", "folder", "--data_dir", "loop"]) == 1
    assert main([*SHORT, "--dataset", "mnist", "--data_dir", "loop"]) == 1
    assert main(["--resume", "loop"]) == 2
    run_dir = str(finished_run / "outputs/whole")
    flags = ["--run", "loop"], ["--checkpoint", "loop"], ["--run", run_dir, "--output", "loop"]
    for place in (*flags, ["--run", run_dir, "--output", "loop/x"]):
        assert main(["sample", *place, "--device", "cpu"]) != 0
    err = capsys.readouterr().err
    assert err.count("\n") == 8 == err.count("error: "), err
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_outputs_of_commands_land_where_the_flag_says_and_nowhere_else(finished_run, tmp_path, monkeypatch):
    run_dir = shutil.copytree(finished_run / "outputs/whole", tmp_path / "outputs/whole")
    (tmp_path / "here").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    monkeypatch.chdir(tmp_path / "here")
    before = files_below(tmp_path)
    places = ["../beside/x.png", str(tmp_path / "absolute/y.png"), "a b/日本.png", "../link/z.png", "n" * 200 + ".png"]
    for place in places:
        assert main(["sample", "--run", str(run_dir), "--output", place, "--quiet", "--device", "cpu"]) == 0
    new = {path for path in files_below(tmp_path) - before if path.is_file()}
    assert new == {Path(os.path.normpath(tmp_path / "here" / place)).resolve() for place in places}
    assert main(["sample", "--run", str(run_dir), "--output", "n" * 300 + ".png", "--quiet", "--device", "cpu"]) == 1


def test_a_relative_data_dir_holds_from_another_working_directory(tmp_path, monkeypatch, write_idx, capsys):
    write_idx(tmp_path / "my data")
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "mnist", "--data_dir", "my data", "--output_dir", "o", "--log_dir", "l", "--run_name", "x"]
    assert main([*SHORT, *flags, "--tsne_samples", "10"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume = ["--resume", "../o/x", "--num_epochs", "2", "--quiet"]
    assert main(resume) == 2 and f"--log_dir {tmp_path}/l" in capsys.readouterr().err
    assert main([*resume, "--log_dir", "../l"]) == 0
    assert main(["evaluate", "--num_importance_samples", "0", "--run", "../o/x", "--quiet", "--device", "cpu"]) == 0
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_a_read_only_checkout_is_enough(tmp_path):
    """Copied and mounted read-only, so that root can't write there either."""
    (tmp_path / "code").mkdir()
    shutil.copy(ROOT / "main.py", tmp_path / "code")
    shutil.copytree(ROOT / "vae", tmp_path / "code/vae", ignore=shutil.ignore_patterns("__pycache__"))
    code = str(tmp_path / "code")
    bound = subprocess.run(["mount", "--bind", "-o", "ro", code, code], capture_output=True, check=False)
    if bound.returncode:
        for path in (tmp_path / "code", *(tmp_path / "code").rglob("*")):
            path.chmod(0o555)
    try:
        process = start(tmp_path, *SHORT, "--run_name", "x", program=tmp_path / "code/main.py")
        assert "Error" not in process.communicate()[1] and process.returncode == 0
        assert not list((tmp_path / "code").rglob("__pycache__")) or bound.returncode
    finally:
        if not bound.returncode:
            subprocess.run(["umount", "--lazy", code], check=True)


def test_a_run_in_training_is_not_overwritten(finished_run, tmp_path, capsys):
    for folder in ("outputs", "runs"):
        shutil.copytree(finished_run / folder, tmp_path / folder, symlinks=True)
    before = files_below(tmp_path)
    with take_lock(tmp_path / "outputs/whole/.lock"):
        assert run_main(tmp_path, *SHORT, "--run_name", "whole", "--overwrite") == 1
    assert "is being trained by another process" in capsys.readouterr().err
    assert files_below(tmp_path) == before


def test_a_log_folder_is_written_only_if_it_is_one(finished_run, tmp_path, capsys):
    run_dir = shutil.copytree(finished_run / "outputs/whole", tmp_path / "outputs/whole")
    (tmp_path / "home/whole/00001").mkdir(parents=True)
    (tmp_path / "home/whole/thesis.tex").write_text("precious")
    before = files_below(tmp_path / "home")
    flags = ["--num_epochs", "5", "--quiet", "--log_dir", str(tmp_path / "home")]
    assert main(["--resume", str(run_dir), *flags]) == 1
    assert "holds more than TensorBoard" in capsys.readouterr().err and files_below(tmp_path / "home") == before


STRANGE = {
    "logs": {"places": {"log_dir": "../../home"}},
    "logs of an older run": {"places": {}, "config": {"log_dir": "home"}},
    "a download": {"places": {"data_dir": "../../home"}, "config": {"dataset": "mnist"}},
    "a classifier": {"places": {"data_dir": "../../home"}, "config": {"final_eval": True}},
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_place_that_only_a_checkpoint_names_is_not_written_and_its_flag_is_named(
    finished_run, tmp_path, monkeypatch, capsys, kind
):
    run_dir = shutil.copytree(finished_run / "outputs/whole", tmp_path / "outputs/whole")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    state = load_state(run_dir)
    state["places"] = {"data_dir": "../../data", "log_dir": "../../runs", **STRANGE[kind]["places"]}
    state["places"] = STRANGE[kind]["places"] and state["places"]
    state["config"] |= STRANGE[kind].get("config", {})
    torch.save(state, run_dir / "checkpoints/last.pt")
    before = files_below(tmp_path)
    assert main(["--resume", "outputs/whole", "--num_epochs", "5", "--quiet"]) == 2
    flag = "log_dir" if "logs" in kind else "data_dir"
    assert f"--resume outputs/whole --{flag} home\n" in capsys.readouterr().err and files_below(tmp_path) == before
    if kind == "a download":
        assert main(["evaluate", "--run", "outputs/whole", "--output", "x.json", "--quiet"]) == 1
        assert "name their folder with --data_dir" in capsys.readouterr().err and files_below(tmp_path) == before


def test_a_place_that_only_a_file_of_several_seeds_names_is_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT, "--seeds", "0", "1", "--run_name", "x", "--quiet"]) == 0
    source = tmp_path / "outputs/x/seeds.json"
    content = json.loads(source.read_text())
    assert content["places"]["log_dir"] == "../../runs/x"
    for seeds in ([0, 1], [0, 1, 2]):
        places = content["places"] | {"log_dir": "../../home/x"}
        source.write_text(json.dumps(content | {"seeds": seeds, "places": places}))
        shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
        assert main(["--resume", "outputs/x", "--num_epochs", "2", "--quiet"]) == 2
        assert "--resume outputs/x --log_dir home\n" in capsys.readouterr().err and not (tmp_path / "home").exists()
        shutil.move(tmp_path / "elsewhere", tmp_path / "runs")
    assert main(["--resume", "outputs/x", "--num_epochs", "2", "--quiet"]) == 0  # the logs lie where they are expected
    assert not (tmp_path / "home").exists() and json.loads(source.read_text())["places"] == content["places"]


def test_a_run_with_absolute_places_that_was_moved_with_its_logs_goes_on_there(finished_run, tmp_path):
    for folder in ("outputs", "runs"):
        shutil.copytree(finished_run / folder, tmp_path / folder, symlinks=True)
    state = load_state(tmp_path / "outputs/whole")
    places = state["places"] | {"log_dir": str(tmp_path.parent / "gone")}
    torch.save({**state, "places": places}, tmp_path / "outputs/whole/checkpoints/last.pt")
    before = files_below(finished_run)
    assert main(["--resume", str(tmp_path / "outputs/whole"), "--num_epochs", "5", "--quiet"]) == 0
    assert files_below(finished_run) == before and len(list((tmp_path / "runs/whole").glob("events*"))) > 1
    assert load_state(tmp_path / "outputs/whole")["places"]["log_dir"] == "../../runs"


@pytest.mark.slow
def test_runs_that_start_in_the_same_second_write_to_folders_of_their_own(tmp_path):
    processes = [start(tmp_path, *SHORT, "--seed", str(seed)) for seed in range(2)]
    for process in processes:
        assert "rror" not in process.communicate()[1] and process.returncode == 0
    runs = [path for path in (tmp_path / "outputs").iterdir() if not path.is_symlink()]
    assert sorted(load_state(run)["config"]["seed"] for run in runs) == [0, 1]
    assert len(list((tmp_path / "runs").iterdir())) == 2 and (tmp_path / "outputs/latest").resolve() in runs


@pytest.mark.slow
def test_a_name_that_two_want_goes_to_one(tmp_path):
    processes = [start(tmp_path, *SHORT, "--run_name", "x", "--seed", str(seed)) for seed in range(2)]
    ends = [(process.communicate()[1].count("error: "), process.returncode) for process in processes]
    assert sorted(ends) == [(0, 0), (1, 2)]
    assert load_state(tmp_path / "outputs/x")["epoch"] == 1


@pytest.mark.slow
def test_a_run_in_training_is_not_resumed_by_another_and_commands_use_it_all_the_while(tmp_path):
    assert run_main(tmp_path, *SHORT, "--run_name", "x", "--quiet") == 0
    run_dir = str(tmp_path / "outputs/x")
    flags = ["--resume", run_dir, "--num_epochs", "2000", "--sample_every", "0", "--device", "cpu", "--threads", "1"]
    first = start(tmp_path, *flags)
    while not first.stdout.readline().startswith("epoch "):
        pass
    second = start(tmp_path, *flags)
    err = second.communicate()[1]
    assert second.returncode == 1 and "is being trained by another process" in err and err.count("\n") == 1
    for command in (["sample", "--num_samples", "4"], ["evaluate", "--num_importance_samples", "0"], ["report"]):
        assert main([*command, "--run", run_dir, "--device", "cpu", "--quiet"]) == 0
    assert first.poll() is None
    first.kill()
    first.communicate()
    done = load_state(tmp_path / "outputs/x")["epoch"]
    assert main(["--resume", run_dir, "--num_epochs", str(done + 1), "--quiet"]) == 0
    rows = [json.loads(line)["epoch"] for line in Path(run_dir, "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, done + 2))


def test_of_two_that_resume_a_run_the_second_does_not_undo_the_first(tmp_path, monkeypatch, capsys):
    """The first takes it up and ends while the second, which has read the checkpoint already, is still beginning."""
    assert run_main(tmp_path, *SHORT, "--run_name", "x", "--quiet") == 0
    run_dir, restore = tmp_path / "outputs/x", Run.restore

    def late(self, *given):
        monkeypatch.setattr(Run, "restore", restore)
        assert main(["--resume", str(run_dir), "--num_epochs", "3", "--quiet"]) == 0
        restore(self, *given)

    monkeypatch.setattr(Run, "restore", late)
    assert main(["--resume", str(run_dir), "--num_epochs", "2", "--quiet"]) == 1
    assert "resume it once more" in capsys.readouterr().err
    assert load_state(run_dir)["epoch"] == 3 == len((run_dir / "metrics.jsonl").read_text().splitlines())


def test_a_file_system_without_locks_is_trained_on_all_the_same(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    assert run_main(tmp_path, *SHORT, "--run_name", "x", "--quiet") == 0
    assert not (tmp_path / "outputs/x/.lock").exists()


def test_a_lock_that_is_a_link_leaves_the_file_behind_it_alone(finished_run, tmp_path, capsys):
    run_dir = shutil.copytree(finished_run / "outputs/whole", tmp_path / "outputs/whole")
    (tmp_path / "thesis.tex").write_text("precious")
    (run_dir / ".lock").symlink_to(tmp_path / "thesis.tex")
    flags = ["--num_epochs", "5", "--quiet", "--log_dir", str(tmp_path / "runs")]
    assert main(["--resume", str(run_dir), *flags]) == 1
    assert "can't write" in capsys.readouterr().err and (tmp_path / "thesis.tex").read_text() == "precious"


def test_logs_of_another_run_of_the_same_name_are_left_alone(finished_run, tmp_path, monkeypatch, capsys):
    for place in ("a/outputs/whole", "b/outputs/whole"):
        shutil.copytree(finished_run / "outputs/whole", tmp_path / place)
    for place in ("a/tb/whole", "a/runs/whole", "b/runs/whole"):
        shutil.copytree(finished_run / "runs/whole", tmp_path / place)
    state = load_state(tmp_path / "a/outputs/whole")
    for events in (tmp_path / "a/runs/whole").rglob("events*"):
        events.rename(f"{events}.of_another_run")
    state["places"]["log_dir"] = "../../tb"
    torch.save(state, tmp_path / "a/outputs/whole/checkpoints/last.pt")
    monkeypatch.chdir(tmp_path / "b")
    before = files_below(tmp_path)
    resume = ["--resume", "../a/outputs/whole", "--num_epochs", "5", "--quiet"]
    assert main(resume) == 2
    assert f"--log_dir {tmp_path}/a/tb\n" in capsys.readouterr().err and files_below(tmp_path) == before
    shutil.rmtree(tmp_path / "a/tb")
    shutil.rmtree(tmp_path / "a/runs")
    assert main(resume) == 2 and files_below(tmp_path / "b") == {
        path for path in before if tmp_path / "b" in path.parents
    }


LINKED = ["outputs/whole/samples", "outputs/whole/epochs", "outputs/whole/checkpoints", "runs/whole"]


@pytest.mark.parametrize("place", LINKED)
def test_a_folder_of_a_run_that_is_a_link_is_refused_and_what_it_leads_to_left_alone(
    finished_run, tmp_path, capsys, place
):
    for folder in ("outputs", "runs"):
        shutil.copytree(finished_run / folder, tmp_path / folder, symlinks=True)
    shutil.move(tmp_path / place, tmp_path / "home")
    (tmp_path / "home/.precious.tmp").touch()
    (tmp_path / place).symlink_to(tmp_path / "home")
    before = files_below(tmp_path, tmp_path / "home")
    flags = ["--num_epochs", "5", "--quiet", "--log_dir", str(tmp_path / "runs")]
    assert main(["--resume", str(tmp_path / "outputs/whole"), *flags]) == 1
    err = capsys.readouterr().err
    assert "is a link to" in err and err.endswith(": remove it\n") and err.count("\n") == 1
    assert files_below(tmp_path, tmp_path / "home") == before


@pytest.mark.parametrize("place", ["outputs/x/seed-1", "runs/x"])
def test_a_folder_of_seeds_that_is_a_link_is_refused_before_any_trains(tmp_path, capsys, place):
    assert run_main(tmp_path, *SHORT, "--seeds", "0", "1", "--run_name", "x", "--quiet") == 0
    shutil.move(tmp_path / place, tmp_path / "home")
    (tmp_path / place).symlink_to(tmp_path / "home")
    before = files_below(tmp_path, tmp_path / "home")
    assert main(["--resume", str(tmp_path / "outputs/x"), "--num_epochs", "2", "--quiet"]) == 1
    assert "is a link to" in capsys.readouterr().err and files_below(tmp_path, tmp_path / "home") == before


FOLDERS = ["私の　数字", "👨\u200d👩\xa0x", "caf\udce9"]  # the last has a byte that is no UTF-8


@pytest.mark.parametrize("name", FOLDERS)
def test_a_run_in_a_folder_of_any_name_can_be_continued_and_used(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    flags = ["--quiet", "--device", "cpu"]
    assert main([*SHORT, "--run_name", "x", *flags]) == 0
    for epochs in ("2", "3"):  # the second from a checkpoint that has been told where it lies
        assert main(["--resume", "outputs/x", "--num_epochs", epochs, "--data_dir", "data", *flags]) == 0
    for command in (["evaluate", "--num_importance_samples", "0"], ["report"], ["export"]):
        assert main([*command, "--run", "outputs/x", *flags]) == 0
    assert not list(Path().rglob(".*.tmp"))
