"""Each command from argv to the files that it leaves."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import run_main
from matplotlib.image import imread

from main import main


def use(command, run_dir, *flags):
    """Run a command on the CPU; the exit code."""
    return main([command, "--run", str(run_dir), "--device", "cpu", *map(str, flags)])


@pytest.fixture(scope="session")
def run_dir(finished_run, tmp_path_factory):
    """A copy: commands leave their results in it."""
    return shutil.copytree(finished_run / "outputs/whole", tmp_path_factory.mktemp("used") / "outputs/whole")


@pytest.fixture(scope="session")
def conditional_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("conditional")
    flags = ["--conditional", "--latent_dim", "5", "--num_epochs", "1"]
    assert run_main(root, "--run_name", "x", *flags) == 0
    return root / "outputs/x"


def test_evaluate_gives_the_figures_that_the_training_ended_with(run_dir, tmp_path, capsys):
    assert use("evaluate", run_dir, "--output", tmp_path / "scores.json") == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    results = json.loads((run_dir / "results.json").read_text())
    for split in ("val", "test"):
        for term in ("elbo", "recon", "kl"):
            assert found[split][term] == pytest.approx(results[split][term], rel=1e-6)
    assert found["protocol"] == results["protocol"] and found["test"]["images"] == 360
    screen = capsys.readouterr().out
    assert "grey pixels" in screen and f"{-results['test']['elbo']:.2f} = " in screen and "scores.json" in screen


def test_results_are_numbered_in_the_run_s_folder_and_never_replaced(run_dir):
    for name in ("samples.png", "samples-2.png"):
        assert use("sample", run_dir, "--num_samples", 4, "--quiet") == 0
        assert (run_dir / "sample" / name).is_file()


def test_a_checkpoint_outside_a_run_writes_into_the_working_directory(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run_dir / "checkpoints/last.pt", "mine.pt")
    assert main(["sample", "--checkpoint", "mine.pt", "--num_samples", "2", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "wrote mine-sample/samples.png\n"
    assert imread("mine-sample/samples.png").ndim == 3


def test_samples_are_the_same_images_in_every_format(run_dir, tmp_path):
    for form in ("npz", "individual"):
        assert use("sample", run_dir, "--num_samples", 12, "--format", form, "--output", tmp_path / form) == 0
    images = np.load(tmp_path / "npz/samples.npz")["images"]
    assert images.shape == (12, 1, 28, 28) and images.min() >= 0 and images.max() <= 1
    files = sorted((tmp_path / "individual").iterdir())
    assert [path.name for path in files[:2]] == ["sample_01.png", "sample_02.png"] and len(files) == 12
    np.testing.assert_allclose(imread(files[3]), images[3, 0], atol=0.5 / 255 + 1e-6)


def test_a_conditional_model_draws_the_classes_that_were_asked_for(conditional_run, tmp_path):
    for flags, expected in (((), [0, 1, 2, 3]), (("--digit", 7), [7] * 4), (("--digit", 7, 3), [7, 3, 7, 3])):
        name = tmp_path / f"{len(flags)}.npz"
        assert use("sample", conditional_run, "--num_samples", 4, "--format", "npz", "--output", name, *flags) == 0
        assert np.load(name)["labels"].tolist() == expected
    assert use("sample", conditional_run, "--digit", 7, 3, "--output", tmp_path / "x.png") == 0


def test_a_class_that_the_model_lacks_is_refused_in_one_line(run_dir, conditional_run, capsys):
    assert use("sample", run_dir, "--digit", 7) == 2
    assert "trained without classes" in capsys.readouterr().err
    assert use("sample", conditional_run, "--digit", 10) == 2
    assert "has the classes 0 to 9" in capsys.readouterr().err


COMMANDS_THAT_OPEN = ("evaluate", "sample")


@pytest.mark.parametrize("command", COMMANDS_THAT_OPEN)
def test_every_command_tells_what_it_can_t_open_in_one_line(command, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("no checkpoint")
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    torch.save({**state, "format": 2**20}, "newer.pt")
    torch.save({**state, "model_state": {}}, "other.pt")
    cases = {
        (): "no run in outputs",
        ("--run", "nowhere"): "nowhere: no such run",
        ("--run", "."): "is no run's folder",
        ("--checkpoint", "text.pt"): "no checkpoint of ours",
        ("--checkpoint", "newer.pt"): "update the program",
        ("--checkpoint", "other.pt"): "not those of a mlp-32-2d",
    }
    for flags, message in cases.items():
        assert main([command, *flags]) == 1
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.count("\n") == 1 and err.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newer.pt", "other.pt", "text.pt"]
