"""A run that was stopped, killed or finished goes on where it was, to the bit."""

import json
import os
import shutil
import signal
from functools import partial

import pytest
import torch
from small_runs import assert_same_state, load_state, read_events, run_main

from main import main
from vae import load_model
from vae.system import checkpoint
from vae.system.files import take_lock
from vae.system.stopping import Stopped, Stopper
from vae.training import learner as learner_module

pytestmark = pytest.mark.usefixtures("no_finish")


def read_rows(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_ends_with_the_same_bits(finished_run, tmp_path, monkeypatch, capsys):
    flags = ["--sample_every", "2", "--checkpoint_every", "2", "--val_split", "0.1", "--run_name", "parts"]
    assert run_main(tmp_path, "--num_epochs", "2", *flags) == 0
    kept = tmp_path / "outputs/parts/epochs"
    for name in ("epoch_004.npz", ".epoch_004.npz.1.tmp"):  # of an epoch that a kill ended before its checkpoint
        (kept / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)  # from another working directory
    assert main(["--resume", "outputs/parts", "--num_epochs", "4"]) == 0
    whole, parts = finished_run / "outputs/whole", tmp_path / "outputs/parts"
    assert_same_state(load_state(whole)["model_state"], load_state(parts)["model_state"])
    for snapshot in (whole / "epochs").iterdir():
        assert snapshot.read_bytes() == (kept / snapshot.name).read_bytes()
    assert len(list(kept.iterdir())) == 3
    generators = [load_state(run_dir)["random_state"]["generator"] for run_dir in (whole, parts)]
    assert torch.equal(*generators)
    for row, expected in zip(read_rows(parts), read_rows(whole), strict=True):
        assert row == {**expected, "seconds": row["seconds"], "images_per_second": row["images_per_second"]}
    steps = [event.step for event in read_events(tmp_path / "runs/parts/test").Scalars("losses/-elbo")]
    assert steps == [1, 2, 3, 4] and "after epoch 2 of 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "code", "auto"),
    [(signal.SIGINT, 130, []), (signal.SIGTERM, 143, ["--resume", "auto"]), (signal.SIGHUP, 129, [])],
)
def test_a_signal_stops_cleanly_and_the_run_resumes_bit_for_bit(
    finished_run, tmp_path, monkeypatch, capsys, request, number, code, auto
):
    flags = ["--num_epochs", "4", "--val_split", "0.1", "--run_name", "cut", *auto]
    real, epochs = learner_module.train_epoch, []

    def train_epoch(*args, on_batch, **kwargs):
        epochs.append(1)

        def batch(count):
            if len(epochs) == 3:
                os.kill(os.getpid(), number)
            on_batch(count)

        return real(*args, on_batch=batch, **kwargs)

    monkeypatch.setattr(learner_module, "train_epoch", train_epoch)
    before = signal.default_int_handler
    request.addfinalizer(partial(signal.signal, number, signal.signal(number, before)))  # it may be ignored here
    assert run_main(tmp_path, *flags) == code
    assert signal.getsignal(number) is before
    out = capsys.readouterr().out
    assert "after epoch 2 of 4" in out and f"--resume {tmp_path / 'outputs' / 'cut'}" in out
    stopped = tmp_path / "outputs/cut/stopped.txt"
    assert "after epoch 2 of 4" in stopped.read_text() and f"--resume {stopped.parent}" in stopped.read_text()
    monkeypatch.setattr(learner_module, "train_epoch", real)
    again = run_main(tmp_path, *flags) if auto else main(["--resume", str(tmp_path / "outputs/cut")])
    assert again == 0 and not stopped.exists()
    whole, cut = load_state(finished_run / "outputs/whole"), load_state(tmp_path / "outputs/cut")
    assert_same_state(whole["model_state"], cut["model_state"])
    assert [event.step for event in read_events(tmp_path / "runs/cut/test").Scalars("losses/-elbo")] == [1, 2, 3, 4]


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(request):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request.addfinalizer(partial(signal.signal, signal.SIGHUP, before))
    with Stopper() as stopper:
        os.kill(os.getpid(), signal.SIGHUP)
        stopper.check()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


SCHEDULES = "--lr_schedule cosine --lr_warmup_epochs 1 --kl_warmup_epochs 2"
OPTIONS = {
    "schedules": f"{SCHEDULES} --binarize dynamic --image_size 32",
    "scaler": "--precision fp16 --grad_clip 1 --conditional --free_bits 0.1",
    "conv": "--arch conv --base_channels 4 --recon_loss continuous_bernoulli --precision bf16",
    "flow": "--prior flow --objective iwae --num_samples_train 3 --ema 0.9 --block residual",
    "vamp": "--prior vamp --num_pseudo_inputs 20 --objective dreg --num_samples_train 2",
    "phases": "--objective dreg --num_samples_train 3 --elbo_until 0.5 --augment 0.5 --augment_until 0.5",
    "gated": "--block gated --mean_bias --augment 0.5 --ema 0.99 --binarize dynamic",
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_resume_with_the_same_bits(tmp_path, monkeypatch, options):
    flags = [*options.split(), "--num_epochs", "2", "--sample_every", "0", "--quiet"]
    flags += ["--hidden_dims", "16", "16"]
    assert run_main(tmp_path, "--run_name", "whole", *flags) == 0
    real, epochs = learner_module.train_epoch, []

    def train_epoch(*args, **kwargs):
        epochs.append(1)
        if len(epochs) == 2:
            raise Stopped(signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(learner_module, "train_epoch", train_epoch)
    assert run_main(tmp_path, "--run_name", "cut", *flags) == 143
    assert main(["--resume", str(tmp_path / "outputs/cut"), "--quiet"]) == 0
    whole, cut = (load_state(tmp_path / "outputs" / name) for name in ("whole", "cut"))
    assert_same_state(whole["model_state"], cut["model_state"])
    assert_same_state(whole["trained_state"], cut["trained_state"])
    assert whole["scaler_state"] == cut["scaler_state"] and bool(whole["trained_state"]) == ("--ema" in flags)
    assert_same_state(load_model(tmp_path / "outputs" / "whole").state_dict(), whole["model_state"])


def test_epochs_that_a_killed_run_recorded_but_did_not_checkpoint_are_not_doubled(tmp_path):
    assert run_main(tmp_path, "--num_epochs", "2", "--run_name", "killed", "--checkpoint_every", "1") == 0
    run_dir = tmp_path / "outputs" / "killed"
    (run_dir / "checkpoints" / "epoch_001.pt").rename(run_dir / "checkpoints" / "last.pt")
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 3, "tra')
    assert main(["--resume", str(run_dir)]) == 0
    assert [row["epoch"] for row in read_rows(run_dir)] == [1, 2]
    assert [event.step for event in read_events(tmp_path / "runs/killed/test").Scalars("losses/-elbo")] == [1, 2]


def test_an_interruption_between_record_and_checkpoint_of_the_first_epoch_doubles_nothing(tmp_path, monkeypatch):
    real = checkpoint.save

    def save(path, state):
        if state["epoch"] == 1:
            raise KeyboardInterrupt
        real(path, state)

    monkeypatch.setattr(checkpoint, "save", save)
    assert run_main(tmp_path, "--num_epochs", "3", "--run_name", "first") == 130
    monkeypatch.setattr(checkpoint, "save", real)
    assert main(["--resume", str(tmp_path / "outputs/first")]) == 0
    log_path = tmp_path / "runs/first"
    assert [event.step for event in read_events(log_path / "test").Scalars("losses/-elbo")] == [1, 2, 3]
    assert [event.step for event in read_events(log_path).Images("pictures/samples")] == [1, 3]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lr", "0.1"], "--lr belongs to the run"),
        (["--num_epochs", "3"], "has reached epoch 4"),
        (["--run_name", "other"], "--run_name belongs to the run"),
    ],
)
def test_a_flag_that_makes_it_another_run_is_refused(finished_run, capsys, flags, message):
    assert main(["--resume", str(finished_run / "outputs/whole"), *flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "note"),
    [
        ("--lr_schedule cosine", "note: the cosine now ends at epoch 2"),
        ("--augment 0.5 --augment_until 0.5", "note: --augment_until and --elbo_until are now fractions of 2 epochs"),
    ],
)
def test_a_longer_run_says_which_of_its_schedules_move(tmp_path, capsys, flags, note):
    flags = [*flags.split(), "--hidden_dims", "8", "--sample_every", "0"]
    assert run_main(tmp_path, "--run_name", "x", "--num_epochs", "1", *flags) == 0
    assert main(["--resume", str(tmp_path / "outputs/x"), "--num_epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert note in out and out.count("note: ") == 1


def test_resuming_nothing_says_so(tmp_path, capsys):
    assert main(["--resume", str(tmp_path / "no")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["--resume", str(tmp_path / "empty")]) == 1
    assert "no checkpoint at" in capsys.readouterr().err


def test_a_run_behind_a_link_and_one_that_was_moved_keep_their_places(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "disk" / "deep").mkdir(parents=True)
    (home / "outputs").symlink_to("disk/deep")
    monkeypatch.chdir(home)
    flags = ["--output_dir", "outputs", "--log_dir", "runs", "--data_dir", "data", "--run_name", "r", "--quiet"]
    assert run_main(home, *flags, "--sample_every", "0", "--num_epochs", "1") == 0
    assert main(["--resume", "outputs/r", "--num_epochs", "2", "--quiet"]) == 0
    monkeypatch.chdir(tmp_path)
    home.rename(tmp_path / "moved")
    assert main(["--resume", "moved/outputs/r", "--num_epochs", "3", "--quiet"]) == 0
    assert not home.exists()
    assert [event.step for event in read_events(tmp_path / "moved/runs/r/train").Scalars("training/lr")] == [1, 2, 3]


def test_going_on_keeps_the_earlier_results_under_another_name_and_quiet_does_not_stick(tmp_path, capsys):
    assert run_main(tmp_path, "--num_epochs", "1", "--run_name", "on", "--quiet") == 0
    run_dir = tmp_path / "outputs/on"
    (run_dir / "results.json").write_text("the first epoch's")
    assert main(["--resume", str(run_dir), "--num_epochs", "2", "--dataset", "digits", "--precision", "auto"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    assert (run_dir / "results_epoch_001.json").read_text() == "the first epoch's"
    assert not (run_dir / "results.json").exists()


WHOLE = ["--num_epochs", "4", "--sample_every", "2", "--checkpoint_every", "2", "--val_split", "0.1"]
AUTO = ["--resume", "auto", "--run_name"]


def test_auto_leaves_a_finished_run_alone(finished_run, capsys):
    run_dir = finished_run / "outputs/whole"
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    assert run_main(finished_run, *WHOLE, *AUTO, "whole") == 0
    assert "whole has finished: epoch 4" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


def test_auto_goes_on_for_longer(finished_run, tmp_path, capsys):
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True, symlinks=True)
    flags = tmp_path / "flags.yaml"
    flags.write_text("resume: auto\nrun_name: whole\nval_split: 0.1\n")
    assert run_main(tmp_path, "--config", str(flags), "--num_epochs", "5", "--sample_every", "0") == 0
    assert [row["epoch"] for row in read_rows(tmp_path / "outputs/whole")] == [1, 2, 3, 4, 5]
    assert "epoch 4/" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([*WHOLE, "--lr", "0.1"], "--lr belongs to the run"),
        (WHOLE[:-2], "--val_split belongs to the run (it is 0.1)"),  # the run of this line has none
        ([*WHOLE, "--num_epochs", "3"], "has reached epoch 4"),
        ([*WHOLE, "--overwrite"], "exclude each other"),
        ([*WHOLE, "--run_name", ""], "give that name"),
        ([*WHOLE, "--run_name", "other", "--log_dir", "{root}/outputs"], "give each a folder of its own"),
    ],
)
def test_auto_refuses_another_run_s_flags(finished_run, capsys, flags, message):
    assert run_main(finished_run, *AUTO, "whole", *(flag.format(root=finished_run) for flag in flags)) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", "config.json", "metrics.jsonl", "checkpoints"]], ids=len)
def test_auto_begins_a_run_that_was_killed_before_its_first_checkpoint(tmp_path, finished_run, left):
    run_dir = tmp_path / "outputs/x"
    run_dir.mkdir(parents=True)
    for name in left:
        (run_dir / name).mkdir() if name == "checkpoints" else (run_dir / name).touch()
    if "config.json" in left:
        shutil.copy(finished_run / "outputs/whole/config.json", run_dir)
        (run_dir / "checkpoints/.last.pt.1.tmp").touch()
    flags = ["--num_epochs", "1", "--hidden_dims", "8", "--sample_every", "0", "--quiet"]
    with take_lock(run_dir / ".lock"):
        assert run_main(tmp_path, *flags, *AUTO, "x") == 1
    assert run_main(tmp_path, *flags, *AUTO, "x") == 0
    assert load_state(run_dir)["epoch"] == 1 and not list(run_dir.rglob(".*"))


def test_auto_takes_nothing_but_a_run_and_says_what_to_do(tmp_path, finished_run, capsys):
    shutil.copytree(finished_run / "outputs/whole", tmp_path / "outputs/damaged")
    (tmp_path / "outputs/damaged/checkpoints/last.pt").write_text("x")
    shutil.copytree(finished_run / "outputs/whole", tmp_path / "outputs/without")
    (tmp_path / "outputs/without/checkpoints/last.pt").unlink()
    (tmp_path / "outputs/thesis").mkdir()
    (tmp_path / "outputs/thesis/chapter.tex").write_text("x")
    for name in ("damaged", "without", "thesis"):
        assert run_main(tmp_path, *WHOLE, *AUTO, name) == 1
        err = capsys.readouterr().err
        assert f"outputs/{name} away" in err and err.count("\n") == 1
    assert (tmp_path / "outputs/thesis/chapter.tex").exists()
