"""Several seeds in one folder: the same bits as one by one, resumable as one, with mean and standard deviation."""

import json
import os
import shutil
import signal
import statistics

import pytest
from small_runs import assert_same_state, load_state, run_main

from main import main
from vae.runs.catalog import read_run
from vae.runs.seeds import SeedGroup
from vae.training import learner as learner_module
from vae.training.divergence import DivergedError

EPOCHS = ["--num_epochs", "2", "--sample_every", "0"]


def weights(run_dir):
    return load_state(run_dir)["model_state"]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Root of three seeds named `three`, and of seed 1 alone, named `alone`."""
    root = tmp_path_factory.mktemp("seeds")
    assert run_main(root, *EPOCHS, "--seeds", "0", "1", "2", "--run_name", "three") == 0
    assert run_main(root, *EPOCHS, "--seed", "1", "--run_name", "alone", "--quiet") == 0
    return root


@pytest.fixture
def stop_at(monkeypatch):
    """Make training raise or do something in its n-th epoch, counted over all runs; `stop_at(0)` is back to normal."""
    real = learner_module.train_epoch

    def arrange(number, action=lambda: None):
        epochs = []

        def train_epoch(*args, on_batch, **kwargs):
            epochs.append(1)

            def batch(count):
                if len(epochs) == number:
                    action()
                on_batch(count)

            return real(*args, on_batch=batch, **kwargs)

        monkeypatch.setattr(learner_module, "train_epoch", train_epoch)

    return arrange


def test_each_seed_has_the_bits_of_its_run_alone_and_its_own_folders(three):
    group = three / "outputs" / "three"
    assert_same_state(weights(group / "seed-1"), weights(three / "outputs" / "alone"))
    assert sorted(path.name for path in (three / "runs" / "three").iterdir()) == ["seed-0", "seed-1", "seed-2"]
    assert all(list((three / "runs" / "three" / f"seed-{seed}").glob("events*")) for seed in range(3))
    runs = [read_run(group / f"seed-{seed}") for seed in range(3)]
    assert [run.config.seed for run in runs] == [0, 1, 2] and {run.state for run in runs} == {"finished"}


def test_mean_and_standard_deviation_are_those_of_the_runs(three):
    group = three / "outputs" / "three"
    content = json.loads((group / "seeds.json").read_text())
    losses = [-json.loads((group / f"seed-{seed}" / "results.json").read_text())["test"]["elbo"] for seed in range(3)]
    assert content["test"]["loss"] == {"mean": statistics.mean(losses), "std": statistics.stdev(losses), "n": 3}
    assert [run["loss"] for run in content["runs"]] == losses and content["seeds"] == [0, 1, 2]
    assert content["protocol"] == "grey pixels" and content["epoch"] == 2


def test_the_table_is_printed_and_finished_seeds_are_not_trained_again(three, capsys, stop_at):
    group = three / "outputs" / "three"
    stop_at(1, lambda: pytest.fail("nothing is left to train"))
    assert main(["--resume", str(group)]) == 0
    out = capsys.readouterr().out
    test = json.loads((group / "seeds.json").read_text())["test"]
    assert f"{test['loss']['mean']:.2f} ± {test['loss']['std']:.2f}" in out and "mean ± std, n = 3" in out
    assert f"main.py compare {group}" in out


def test_latest_leads_to_the_newest_seed(three, tmp_path, no_finish):
    assert run_main(tmp_path, *EPOCHS, "--seeds", "5", "4", "--quiet") == 0
    latest = (tmp_path / "outputs" / "latest").resolve()
    assert latest.name == "seed-4" and latest.parent.name.endswith("-mlp-32-2d-seeds")
    assert (tmp_path / "runs" / latest.parent.name / "seed-5").is_dir()
    assert not (latest.parent / "latest").exists()


def test_ctrl_c_says_how_to_continue_and_the_rest_has_the_same_bits(three, tmp_path, capsys, stop_at, no_finish):
    stop_at(4, lambda: os.kill(os.getpid(), signal.SIGINT))  # in the second epoch of the second seed
    assert run_main(tmp_path, *EPOCHS, "--seeds", "0", "1", "2", "--run_name", "cut") == 130
    group = tmp_path / "outputs" / "cut"
    out = capsys.readouterr().out
    assert f"--resume {group}\n" in out and not (group / "seed-2").exists()
    stop_at(0)
    assert main(["--resume", str(group)]) == 0
    for seed in range(3):
        assert_same_state(weights(group / f"seed-{seed}"), weights(three / "outputs" / "three" / f"seed-{seed}"))
    assert (tmp_path / "runs" / "cut" / "seed-2").is_dir()


def test_an_interruption_while_the_data_is_loaded_says_how_to_continue(tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("vae.runs.run.build_splits", interrupted)
    assert run_main(tmp_path, *EPOCHS, "--seeds", "0", "1", "--run_name", "early") == 130
    assert f"--resume {tmp_path / 'outputs' / 'early'}" in capsys.readouterr().out


def test_what_a_kill_left_before_the_first_checkpoint_is_trained_anew(three, tmp_path, no_finish):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    group = tmp_path / "outputs" / "three"
    shutil.rmtree(group / "seed-1" / "checkpoints")
    (group / "seed-1" / "results.json").unlink()
    shutil.rmtree(group / "seed-2")  # its log folder is left
    assert main(["--resume", str(group), "--quiet"]) == 0
    for seed in (1, 2):
        assert_same_state(weights(group / f"seed-{seed}"), weights(three / "outputs" / "three" / f"seed-{seed}"))


def test_more_epochs_are_for_all_seeds_and_other_flags_belong_to_them(three, tmp_path, capsys, no_finish):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    group = tmp_path / "outputs" / "three"
    assert main(["--resume", str(group), "--num_epochs", "1"]) == 2
    assert "has reached epoch 2 already" in capsys.readouterr().err
    assert main(["--resume", str(group), "--lr", "0.5"]) == 2
    assert "--lr belongs to the run" in capsys.readouterr().err
    assert main(["--resume", str(group), "--num_epochs", "3", "--quiet"]) == 0
    assert [load_state(group / f"seed-{seed}")["epoch"] for seed in range(3)] == [3, 3, 3]
    assert SeedGroup.open(group).flags["num_epochs"] == 3


@pytest.mark.parametrize("flags", [["--device", "cuda:63"], ["--data_dir", "nowhere", "--device", "cuda:63"]])
def test_a_refused_continuation_changes_nothing(three, tmp_path, capsys, flags):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    group = tmp_path / "outputs" / "three"
    before = (group / "seeds.json").read_text()
    assert main(["--resume", str(group), "--num_epochs", "5000", *flags]) == 2
    assert "--device cuda:63" in capsys.readouterr().err and (group / "seeds.json").read_text() == before
    with SeedGroup.open(group).lock():
        assert main(["--resume", str(group), "--num_epochs", "5000"]) == 1
    assert (group / "seeds.json").read_text() == before


def test_more_epochs_hold_after_an_interruption_and_the_machine_s_flags_do_not(three, tmp_path, stop_at, no_finish):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    group = tmp_path / "outputs" / "three"
    stop_at(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    flags = ["--num_epochs", "3", "--device", "cpu", "--threads", "1", "--quiet"]
    assert main(["--resume", str(group), *flags]) == 130
    stored = SeedGroup.open(group).flags
    assert stored["num_epochs"] == 3 and not {"threads", "quiet"} & stored.keys()
    stop_at(0)
    assert main(["--resume", str(group)]) == 0
    assert [load_state(group / f"seed-{seed}")["epoch"] for seed in range(3)] == [3, 3, 3]


def test_one_damaged_seed_gets_one_line_and_the_others_their_turn(three, tmp_path, capsys, no_finish):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    group = tmp_path / "outputs" / "three"
    for seed in (0, 2):
        (group / f"seed-{seed}" / "results.json").unlink()
    (group / "seed-0" / "checkpoints" / "last.pt").write_text("x")
    assert main(["--resume", str(group)]) == 1
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert first.startswith("error: seed 0: ") and f"remove {group / 'seed-0'}" in first
    assert last.startswith("error: not finished: seed 0") and "seed 2, 3 of 3" in out


def test_a_seed_that_diverges_leaves_the_mean_of_the_others(tmp_path, capsys, stop_at):
    def diverge():
        raise DivergedError("the loss was no longer finite")

    stop_at(1, diverge)
    assert run_main(tmp_path, *EPOCHS, "--seeds", "0", "1", "2", "--run_name", "x") == 1
    out, err = capsys.readouterr()
    assert "error: seed 0: the loss was no longer finite" in err and "n = 2" in out
    content = json.loads((tmp_path / "outputs/x/seeds.json").read_text())
    assert [run["seed"] for run in content["runs"]] == [1, 2] and content["test"]["kl"]["n"] == 2


def test_a_taken_name_is_refused_and_overwrite_replaces_all_seeds(three, tmp_path, capsys, no_finish):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    flags = [*EPOCHS, "--run_name", "three", "--quiet"]
    for seeds in (["--seeds", "7", "8"], ["--seed", "7"]):
        assert run_main(tmp_path, *flags, *seeds) == 2
        assert "three is there already" in capsys.readouterr().err
    assert run_main(tmp_path, *flags, "--seeds", "7", "8", "--overwrite") == 0
    group = tmp_path / "outputs" / "three"
    assert sorted(path.name for path in group.glob("seed-*")) == ["seed-7", "seed-8"]
    (group / "seed-7" / "config.json").write_text("a thesis")
    assert run_main(tmp_path, *flags, "--seed", "7", "--overwrite") == 2
    assert "is not a run of this program" in capsys.readouterr().err


def test_overwrite_never_takes_a_folder_with_another_program_s_seeds(tmp_path, capsys):
    (tmp_path / "outputs" / "x").mkdir(parents=True)
    (tmp_path / "outputs" / "x" / "seeds.json").write_text('{"tomatoes": 3}')
    assert run_main(tmp_path, *EPOCHS, "--seeds", "0", "1", "--run_name", "x", "--overwrite") == 2
    assert (tmp_path / "outputs" / "x" / "seeds.json").read_text() == '{"tomatoes": 3}'


DAMAGE = {
    "seeds": [1, "2"],
    "seeds ": [0, 0],
    "flags": {"lr": "fast"},
    "flags ": {"colour": "red"},
    "flags  ": {"hidden_dims": [[1]]},
    "places": {"data_dir": 3},
}


@pytest.mark.parametrize(("entry", "value"), DAMAGE.items(), ids=range(len(DAMAGE)))
def test_a_damaged_seeds_file_gets_one_line(three, tmp_path, capsys, entry, value):
    group = tmp_path / "group"
    shutil.copytree(three / "outputs" / "three", group)
    content = json.loads((group / "seeds.json").read_text())
    (group / "seeds.json").write_text(json.dumps(content | {entry.strip(): value}))
    assert main(["--resume", str(group)]) == 1
    err = capsys.readouterr().err
    assert "seeds.json is damaged" in err and err.count("\n") == 1


def test_the_same_command_again_continues_the_seeds(three, tmp_path, capsys, no_finish):
    shutil.copytree(three, tmp_path, dirs_exist_ok=True, symlinks=True)
    group = tmp_path / "outputs" / "three"
    shutil.rmtree(group / "seed-1")
    flags = [*EPOCHS, "--run_name", "three", "--resume", "auto", "--quiet"]
    assert run_main(tmp_path, *flags) == 2 and "give their --seeds" in capsys.readouterr().err
    assert run_main(tmp_path, *flags, "--seeds", "0", "1") == 2
    assert "--seeds belongs to the runs (it is 0 1 2)" in capsys.readouterr().err
    assert run_main(tmp_path, *flags, "--seeds", "0", "1", "2", "--lr", "0.5") == 2
    assert "--lr belongs to the run" in capsys.readouterr().err
    before = load_state(group / "seed-0")
    assert run_main(tmp_path, *flags, "--seeds", "0", "1", "2") == 0
    assert_same_state(weights(group / "seed-1"), weights(three / "outputs" / "three" / "seed-1"))
    assert load_state(group / "seed-0")["epoch"] == before["epoch"] and "lr" not in SeedGroup.open(group).flags


def test_seeds_under_torchrun_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_main(tmp_path, *EPOCHS, "--seeds", "0", "1") == 2
    assert "--seeds is for a single process" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_compiled_steps_of_several_seeds_have_the_bits_of_each_alone(tmp_path):
    flags = [*EPOCHS, "--compile", "on", "--quiet"]
    assert run_main(tmp_path, *flags, "--seeds", "0", "1", "--run_name", "both") == 0
    for seed in ("0", "1"):
        assert run_main(tmp_path, *flags, "--seed", seed, "--run_name", f"alone{seed}") == 0
        both, alone = tmp_path / "outputs/both" / f"seed-{seed}", tmp_path / "outputs" / f"alone{seed}"
        assert_same_state(weights(both), weights(alone))
