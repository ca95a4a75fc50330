"""Each command from argv to the files that it leaves."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from small_runs import run_main

from main import main
from vae import open_run
from vae.config.options import COMMANDS
from vae.data.datasets import load_splits
from vae.evaluation import classifier
from vae.evaluation.elbo import posterior
from vae.plots import images as figures
from vae.runs import scorecard


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
    flags = ["--num_importance_samples", 0, "--output", tmp_path / "scores.json"]
    assert use("evaluate", run_dir, *flags) == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    results = json.loads((run_dir / "results.json").read_text())
    for split in ("val", "test"):
        for term in ("elbo", "recon", "kl"):
            assert found[split][term] == pytest.approx(results[split][term], rel=1e-6)
    assert found["protocol"] == results["protocol"] and found["test"]["images"] == 360
    screen = capsys.readouterr().out
    assert "grey pixels" in screen and f"{-results['test']['elbo']:.2f} = " in screen and "scores.json" in screen


def test_evaluate_measures_in_full_what_the_training_s_end_would_have(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1000)
    places = ["--output", tmp_path / "scores.json", "--data_dir", tmp_path]
    assert use("evaluate", run_dir, "--num_importance_samples", 100, *places) == 0
    captured = capsys.readouterr()
    found = json.loads((tmp_path / "scores.json").read_text())
    measured = found["measured"]
    assert measured["num_importance_samples"] == 100 and measured["protocol"] == found["protocol"]
    assert -measured["test"]["elbo"]["mean"] == pytest.approx(-found["test"]["elbo"], rel=0.01)
    assert f"{measured['test']['nll']['mean']:.2f} ± " in captured.out
    assert list((tmp_path / "classifiers").iterdir())


def test_evaluate_measures_everything_unless_told_otherwise_and_keeps_what_it_has_when_interrupted(
    run_dir, tmp_path, capsys, monkeypatch
):
    asked = []

    def interrupted(*args, num_importance_samples, **kwargs):
        asked.append(num_importance_samples)
        raise KeyboardInterrupt

    monkeypatch.setattr(scorecard, "evaluate_fully", interrupted)
    assert use("evaluate", run_dir, "--output", tmp_path / "scores.json") == 130
    assert asked == [1000] and "minus the ELBO" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())["test"]["images"] == 360


def test_figures_that_are_no_numbers_are_never_written(run_dir, tmp_path, capsys):
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    state["model_state"] = {name: 1e30 * weight for name, weight in state["model_state"].items()}  # overflows
    torch.save(state, tmp_path / "x.pt")
    flags = ["--checkpoint", str(tmp_path / "x.pt"), "--output", str(tmp_path / "scores.json")]
    assert main(["evaluate", "--device", "cpu", *flags]) == 1
    err = capsys.readouterr().err
    assert "no finite numbers" in err and err.count("\n") == 1 and not (tmp_path / "scores.json").exists()


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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_what_it_can_t_open_in_one_line(command, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("no checkpoint")
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    torch.save({**state, "format": 2**20}, "newer.pt")
    torch.save({**state, "model_state": {}}, "other.pt")
    torch.save({**state, "config": {**state["config"], "colour": "red"}}, "strange.pt")
    weights = {name: torch.full_like(weight, torch.nan) for name, weight in state["model_state"].items()}
    torch.save({**state, "model_state": weights}, "nan.pt")
    cases = {
        (): "no run in outputs",
        ("--run", "nowhere"): "nowhere: no such run",
        ("--run", "."): "is no run's folder",
        ("--checkpoint", "text.pt"): "no checkpoint of ours",
        ("--checkpoint", "newer.pt"): "update the program",
        ("--checkpoint", "nan.pt"): "nan.pt: its weights are not all finite numbers",
        ("--checkpoint", "strange.pt"): "strange.pt is damaged, or of another version: the stored configuration",
        ("--checkpoint", "other.pt"): "not those of a mlp-32-2d",
    }
    for flags, message in cases.items():
        assert main([command, *flags]) == 1
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.count("\n") == 1 and err.startswith("error: ")
    left = sorted(path.stem for path in tmp_path.iterdir())
    assert left == ["nan", "newer", "other", "strange", "text"]


def test_reconstruct_gives_each_test_image_s_elbo(run_dir, tmp_path):
    assert use("reconstruct", run_dir, "--num_images", 360, "--output", tmp_path) == 0
    found = json.loads((tmp_path / "reconstructions.json").read_text())
    results = json.loads((run_dir / "results.json").read_text())
    assert len(found["images"]) == 360 and found["protocol"] == "grey pixels"
    mean = sum(image["elbo"] for image in found["images"]) / 360
    assert mean == pytest.approx(results["test"]["elbo"], abs=0.5)  # one sample there, 64 here: 0.1 apart at most
    for image in found["images"]:
        assert image["elbo"] == pytest.approx(-image["recon"] - image["kl"])


def own_digits(folder, count=3):
    folder.mkdir()
    images = load_splits("digits", folder).test.images[:count, 0]
    for index, image in enumerate(images):
        Image.fromarray(255 - image.numpy()).resize((90, 90)).save(folder / f"mine_{index}.png")
    return folder


def test_reconstruct_takes_people_s_own_images(run_dir, conditional_run, tmp_path, capsys):
    own = own_digits(tmp_path / "own")
    assert use("reconstruct", run_dir, "--images", own, "--output", tmp_path / "a") == 0
    screen = capsys.readouterr().out
    assert "inverted, since the background is light: mine_0.png, mine_1.png, mine_2.png" in screen
    assert "of test images" in screen
    images = json.loads((tmp_path / "a/reconstructions.json").read_text())["images"]
    assert [image["name"] for image in images] == ["mine_0.png", "mine_1.png", "mine_2.png"]
    assert all(image["inverted"] and 0 <= image["worse_than_test_images"] <= 1 for image in images)
    assert use("reconstruct", conditional_run, "--images", own, "--digit", 1, 2, 3, "--output", tmp_path / "b") == 0
    images = json.loads((tmp_path / "b/reconstructions.json").read_text())["images"]
    assert [image["class"] for image in images] == ["1", "2", "3"]
    assert use("reconstruct", conditional_run, "--images", own, "--output", tmp_path / "c") == 0
    assert use("reconstruct", conditional_run, "--images", own, "--digit", 1, 2) == 2
    assert "2 classes for 3 images" in capsys.readouterr().err


def test_what_is_unusable_in_a_folder_is_left_out_by_name_and_what_is_named_is_not(
    run_dir, conditional_run, tmp_path, capsys
):
    own = own_digits(tmp_path / "own")
    (own / "mine_1.png").write_text("no image")
    Image.new("L", (9, 9)).save(own / "blank.png")
    assert use("reconstruct", run_dir, "--images", own, "--output", tmp_path / "a") == 0
    screen = capsys.readouterr().out
    assert "left out: " in screen and "mine_1.png can't be read" in screen and "blank.png is blank" in screen
    images = json.loads((tmp_path / "a/reconstructions.json").read_text())["images"]
    assert [image["name"] for image in images] == ["mine_0.png", "mine_2.png"]
    flags = ["--digit", 9, 1, 2, 3, "--output", tmp_path / "b"]
    assert use("reconstruct", conditional_run, "--images", own, *flags) == 0  # a class for each file, in their order
    images = json.loads((tmp_path / "b/reconstructions.json").read_text())["images"]
    assert [image["class"] for image in images] == ["1", "3"]
    assert use("reconstruct", run_dir, "--images", own, own / "mine_1.png", "--output", tmp_path / "c") == 1
    for number in (0, 2):
        (own / f"mine_{number}.png").unlink()
    assert use("reconstruct", run_dir, "--images", own, "--output", tmp_path / "c") == 1
    assert "none of the 2 images in" in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_own_images_are_scored_without_the_data_too(run_dir, tmp_path, capsys):
    own = own_digits(tmp_path / "own", 1)
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    state["config"] |= {"dataset": "mnist", "data_dir": str(tmp_path / "nowhere")}
    torch.save(state, tmp_path / "x.pt")
    flags = ["--checkpoint", str(tmp_path / "x.pt"), "--images", str(own), "--output", str(tmp_path / "out")]
    assert main(["reconstruct", *flags]) == 0
    assert "not held against test images" in capsys.readouterr().out


def test_a_picture_that_can_t_be_used_leaves_nothing(run_dir, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no image")
    assert use("reconstruct", run_dir, "--images", tmp_path / "text.png", "--output", tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "text.png can't be read as an image" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


WAYS = [(), ("--images", 3, 18), ("--digits", 3, 8, "--path", "spherical"), ("--random", "--seed", 3, "--steps", 30)]


@pytest.mark.parametrize("flags", WAYS)
def test_interpolate_leaves_a_strip_and_an_animation_there_and_back(run_dir, tmp_path, flags):
    assert use("interpolate", run_dir, "--steps", 4, *flags, "--output", tmp_path / "x.gif") == 0
    steps = 30 if "--random" in flags else 4
    assert imread(tmp_path / "x.png").ndim == 3
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames <= 2 * 4 * (steps - 1)  # frames that look the same are merged
        assert film.n_frames > steps


def test_a_conditional_model_interpolates_within_one_class(conditional_run, tmp_path, capsys):
    assert use("interpolate", conditional_run, "--steps", 3, "--output", tmp_path / "a.png") == 0
    assert use("interpolate", conditional_run, "--digits", 3, 8, "--output", tmp_path / "b.png") == 2
    assert "choose it with --digit" in capsys.readouterr().err
    flags = ["--digits", 3, 8, "--digit", 3, "--steps", 3, "--output", tmp_path / "b.png"]
    assert use("interpolate", conditional_run, *flags) == 0


def test_places_outside_the_test_set_are_refused(run_dir, capsys):
    for flags in (("--images", 0, 360), ("--digits", 3, 10)):
        assert use("interpolate", run_dir, *flags) == 2
        assert "error: --" in capsys.readouterr().err
    assert use("traverse", run_dir, "--image", 360) == 2
    assert "the test set has the images 0 to 359" in capsys.readouterr().err


def test_traverse_orders_the_latents_by_their_activity(conditional_run, tmp_path, monkeypatch, capsys):
    labels = []
    monkeypatch.setattr(figures, "draw_grid", lambda *args, **kwargs: labels.extend(kwargs["row_labels"]))
    assert use("traverse", conditional_run, "--top", 3, "--output", tmp_path) == 0
    trained = open_run(conditional_run, device="cpu")
    variance = posterior(trained.model, trained.split("test"))[0].var(0, correction=0)
    order = variance.argsort(descending=True)[:3].tolist()
    assert labels == [f"z{unit + 1}, var {variance[unit]:.2f}" for unit in order]
    assert "the 3 most active of 5" in capsys.readouterr().out


def test_embed_leaves_the_same_latents_in_both_files(run_dir, tmp_path):
    assert use("embed", run_dir, "--split", "val", "--picture", "pca", "--output", tmp_path) == 0
    with np.load(tmp_path / "val_latents.npz") as found:
        arrays = dict(found)
    lines = list(csv.DictReader((tmp_path / "val_latents.csv").read_text().splitlines()))
    assert len(lines) == 144 == len(arrays["mu"])
    for name in ("mu", "logvar"):
        written = np.array([[line[f"{name}_{i}"] for i in (1, 2)] for line in lines], dtype=np.float32)
        np.testing.assert_array_equal(written, arrays[name])
    assert [int(line["label"]) for line in lines] == arrays["labels"].tolist()
    trained = open_run(run_dir, device="cpu")
    np.testing.assert_allclose(arrays["mu"], posterior(trained.model, trained.split("val"))[0], atol=1e-6)


def test_export_leaves_programs_and_says_how_to_use_them(run_dir, tmp_path, capsys):
    assert use("export", run_dir, "--output", tmp_path / "x") == 0
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert names == ["decoder.pt2", "encoder.pt2", "example.npz", "export.json"]
    assert "torch.export.load" in capsys.readouterr().out


def test_gif_animates_what_the_epochs_left(run_dir, tmp_path, capsys):
    assert use("gif", run_dir, "--output", tmp_path) == 0
    with Image.open(tmp_path / "samples.gif") as film:
        assert film.n_frames == 3  # epochs 1, 2 and 4
    assert "no latent_scatter.gif" in capsys.readouterr().out
    bare = shutil.copytree(run_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("epoch_00[24].png"))
    assert use("gif", bare) == 2
    assert "has 1 of the two pictures that it takes: train with --sample_every 1" in capsys.readouterr().err
    checkpoint = shutil.copy(run_dir / "checkpoints/last.pt", tmp_path / "x.pt")
    assert main(["gif", "--checkpoint", str(checkpoint)]) == 2
    assert "outside a run" in capsys.readouterr().err


def test_training_with_gif_animates_the_scatter_too(tmp_path):
    flags = ["--num_epochs", "3", "--gif", "--quiet"]  # of every epoch, where nothing else is said
    assert run_main(tmp_path, "--run_name", "x", *flags) == 0
    for name in ("samples", "reconstructions", "latent_scatter"):
        with Image.open(tmp_path / f"outputs/x/{name}.gif") as film:
            assert film.n_frames == 3 and film.format == "GIF"
