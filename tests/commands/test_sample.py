import shutil

import numpy as np
import pytest
from matplotlib.image import imread

from main import main
from vae import open_run
from vae.config.cli import parse_args
from vae.config.presets import configure


@pytest.mark.pictures
def test_results_are_numbered_in_the_run_s_folder_and_never_replaced(use, run_dir):
    for name in ("samples_seed0_4images.png", "samples_seed0_4images-2.png"):
        assert use("sample", run_dir, "--num_samples", 4, "--quiet") == 0
        assert imread(run_dir / "sample" / name).ndim == 3


def test_a_checkpoint_outside_a_run_writes_into_the_working_directory(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run_dir / "checkpoints/last.pt", "mine.pt")
    assert main(["sample", "--checkpoint", "mine.pt", "--num_samples", "2", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "wrote mine-sample/samples_seed0_2images.png\n"
    assert (tmp_path / "mine-sample/samples_seed0_2images.png").is_file()


def test_samples_are_the_same_images_in_every_format(use, run_dir, tmp_path):
    for form in ("npz", "individual"):
        assert use("sample", run_dir, "--num_samples", 12, "--format", form, "--output", tmp_path / form) == 0
    images = np.load(tmp_path / "npz/samples_seed0_12images.npz")["images"]
    assert images.shape == (12, 1, 28, 28) and images.min() >= 0 and images.max() <= 1
    files = sorted((tmp_path / "individual").iterdir())
    assert [path.name for path in files[:2]] == ["sample_01.png", "sample_02.png"] and len(files) == 12
    np.testing.assert_allclose(imread(files[3]), images[3, 0], atol=0.5 / 255 + 1e-6)


def test_a_conditional_model_draws_the_classes_that_were_asked_for(use, conditional_run, tmp_path):
    for flags, expected in (((), [0, 1, 2, 3]), (("--digit", 7), [7] * 4), (("--digit", 7, 3), [7, 3, 7, 3])):
        path = tmp_path / f"{len(flags)}.npz"
        assert use("sample", conditional_run, "--num_samples", 4, "--format", "npz", "--output", path, *flags) == 0
        assert np.load(path)["labels"].tolist() == expected
    flags = ("--digit", 7, 3, "--num_samples", 2, "--format", "individual", "--temperature", 0.8)
    assert use("sample", conditional_run, *flags) == 0
    folder = conditional_run / "sample/samples_class7-3_seed0_temperature0.8_2images"
    assert sorted(path.name for path in folder.iterdir()) == ["sample_1_7.png", "sample_2_3.png"]


@pytest.mark.parametrize("command", ["sample", "interpolate --random", "traverse", "reconstruct --images examples"])
def test_a_class_for_an_unconditional_model_is_answered_with_the_command_that_trains_a_conditional_one(
    use, run_dir, capsys, command
):
    name, *flags = command.split()
    assert use(name, run_dir, *flags, "--digit", 7) == 2
    message = capsys.readouterr().err
    assert "digit 7: this model was trained without classes; train one with them: python main.py " in message
    given = parse_args(message.partition("main.py ")[2].split())
    ours = open_run(run_dir, device="cpu").config
    theirs = configure(given).to_dict()
    assert message.count("\n") == 1
    assert {name for name, value in ours.to_dict().items() if theirs[name] != value} <= {
        *("conditional", "run_name", "output_dir", "log_dir")
    }


def test_a_class_that_the_data_lacks_is_refused_in_one_line_whether_the_model_knows_classes_or_not(
    use, run_dir, conditional_run, capsys
):
    for run in (run_dir, conditional_run):
        assert use("sample", run, "--digit", 7, 10) == 2
        assert capsys.readouterr().err == "error: digit 10: the classes are 0 to 9\n"
