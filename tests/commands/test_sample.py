import shutil

import numpy as np
import pytest
from matplotlib.image import imread

from main import main


@pytest.mark.pictures
def test_results_are_numbered_in_the_run_s_folder_and_never_replaced(use, run_dir):
    for name in ("samples.png", "samples-2.png"):
        assert use("sample", run_dir, "--num_samples", 4, "--quiet") == 0
        assert imread(run_dir / "sample" / name).ndim == 3


def test_a_checkpoint_outside_a_run_writes_into_the_working_directory(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run_dir / "checkpoints/last.pt", "mine.pt")
    assert main(["sample", "--checkpoint", "mine.pt", "--num_samples", "2", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "wrote mine-sample/samples.png\n"
    assert (tmp_path / "mine-sample/samples.png").is_file()


def test_samples_are_the_same_images_in_every_format(use, run_dir, tmp_path):
    for form in ("npz", "individual"):
        assert use("sample", run_dir, "--num_samples", 12, "--format", form, "--output", tmp_path / form) == 0
    images = np.load(tmp_path / "npz/samples.npz")["images"]
    assert images.shape == (12, 1, 28, 28) and images.min() >= 0 and images.max() <= 1
    files = sorted((tmp_path / "individual").iterdir())
    assert [path.name for path in files[:2]] == ["sample_01.png", "sample_02.png"] and len(files) == 12
    np.testing.assert_allclose(imread(files[3]), images[3, 0], atol=0.5 / 255 + 1e-6)


def test_a_conditional_model_draws_the_classes_that_were_asked_for(use, conditional_run, tmp_path):
    for flags, expected in (((), [0, 1, 2, 3]), (("--digit", 7), [7] * 4), (("--digit", 7, 3), [7, 3, 7, 3])):
        path = tmp_path / f"{len(flags)}.npz"
        assert use("sample", conditional_run, "--num_samples", 4, "--format", "npz", "--output", path, *flags) == 0
        assert np.load(path)["labels"].tolist() == expected
    assert use("sample", conditional_run, "--digit", 7, 3, "--output", tmp_path / "x.png") == 0


def test_a_class_that_the_model_lacks_is_refused_in_one_line(use, run_dir, conditional_run, capsys):
    assert use("sample", run_dir, "--digit", 7) == 2
    assert "trained without classes" in capsys.readouterr().err
    assert use("sample", conditional_run, "--digit", 10) == 2
    assert "has the classes 0 to 9" in capsys.readouterr().err
