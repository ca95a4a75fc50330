import shutil

from PIL import Image
from small_runs import run_main

from main import main


def test_the_pictures_of_the_epochs_are_animated(use, run_dir, tmp_path, capsys):
    assert use("gif", run_dir, "--output", tmp_path) == 0
    with Image.open(tmp_path / "samples.gif") as film:
        assert film.n_frames == 3  # epochs 1, 2 and 4
    assert "no latent_scatter.gif" in capsys.readouterr().out


def test_a_single_picture_and_a_checkpoint_outside_a_run_are_refused(use, run_dir, tmp_path, capsys):
    bare = shutil.copytree(run_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("epoch_00[24].png"))
    assert use("gif", bare) == 2
    assert "pictures of two epochs, and there are 1: train with --sample_every 1" in capsys.readouterr().err
    checkpoint = shutil.copy(run_dir / "checkpoints/last.pt", tmp_path / "x.pt")
    assert main(["gif", "--checkpoint", str(checkpoint)]) == 2
    assert "outside a run's folder" in capsys.readouterr().err


def test_training_with_gif_animates_the_scatter_too(tmp_path):
    flags = ["--num_epochs", "3", "--gif", "--quiet"]  # draws after every epoch, unless --sample_every says otherwise
    assert run_main(tmp_path, "--run_name", "x", *flags) == 0
    for name in ("samples", "reconstructions", "latent_scatter"):
        with Image.open(tmp_path / f"outputs/x/{name}.gif") as film:
            assert film.n_frames == 3 and film.format == "GIF"
