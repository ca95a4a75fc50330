import json

import pytest
import torch
from PIL import Image

from main import main
from vae import open_run
from vae.data.datasets import load_splits
from vae.plots import images as figures


def test_reconstruct_gives_each_test_image_s_elbo(use, run_dir, tmp_path):
    assert use("reconstruct", run_dir, "--num_images", 360, "--output", tmp_path) == 0
    figures = json.loads((tmp_path / "reconstructions_test0-359.json").read_text())
    results = json.loads((run_dir / "results.json").read_text())
    assert len(figures["images"]) == 360 and figures["protocol"] == "grey pixels"
    mean = sum(image["elbo"] for image in figures["images"]) / 360
    assert mean == pytest.approx(results["test"]["elbo"], abs=0.5)  # one sample there, 64 here: 0.1 apart at most
    assert [image["index"] for image in figures["images"]] == list(range(360))
    for image in figures["images"]:
        assert image["elbo"] == pytest.approx(-image["recon"] - image["kl"])


def report_of(folder):
    (path,) = folder.glob("*.json")
    return path


def own_digits(folder, count=3):
    folder.mkdir()
    images = load_splits("digits", folder).test.images[:count, 0]
    for index, image in enumerate(images):
        Image.fromarray(255 - image.numpy()).resize((90, 90)).save(folder / f"mine_{index}.png")
    return folder


@pytest.mark.figures
def test_reconstruct_takes_people_s_own_images(use, run_dir, conditional_run, tmp_path, capsys):
    own = own_digits(tmp_path / "own")
    assert use("reconstruct", run_dir, "--images", own, "--output", tmp_path / "a") == 0
    screen = capsys.readouterr().out
    assert "inverted, since the background is light: mine_0.png, mine_1.png, mine_2.png" in screen
    assert "of test images" in screen
    images = json.loads(report_of(tmp_path / "a").read_text())["images"]
    assert [image["name"] for image in images] == ["mine_0.png", "mine_1.png", "mine_2.png"]
    assert all(image["inverted"] and 0 <= image["worse_than_test_images"] <= 1 for image in images)
    assert use("reconstruct", conditional_run, "--images", own, "--digit", 1, 2, 3, "--output", tmp_path / "b") == 0
    images = json.loads(report_of(tmp_path / "b").read_text())["images"]
    assert [image["class"] for image in images] == ["1", "2", "3"]
    assert report_of(tmp_path / "b").name == "reconstructions_mine_0_and-2-more_as-1-2-3.json"
    assert use("reconstruct", conditional_run, "--images", own, "--side_by_side", "--output", tmp_path / "c") == 0
    assert report_of(tmp_path / "c").name == "reconstructions_mine_0_and-2-more_side-by-side.json"
    assert use("reconstruct", conditional_run, "--images", own, "--digit", 1, 2) == 2
    assert "2 classes for 3 images" in capsys.readouterr().err


def test_test_images_have_the_indices_that_other_commands_take(use, run_dir, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(figures, "draw_comparison", lambda path, versions, **options: drawn.append((versions, options)))
    for flags in ((), ("--side_by_side",)):
        assert use("reconstruct", run_dir, "--num_images", 3, *flags, "--output", tmp_path) == 0
    labels = open_run(run_dir, device="cpu").split("test").labels[:3].tolist()
    screen = capsys.readouterr().out
    assert all(f"  #{index}: {label} " in screen for index, label in enumerate(labels))
    (below, options), (beside, options_beside) = drawn
    for heading, label in zip(options["headings"], enumerate(labels), strict=True):
        assert heading.startswith("#{}: {}\n−".format(*label))
    assert [heading[:4] for heading in options_beside["headings"]] == [heading[:4] for heading in options["headings"]]
    (pairs,) = beside.values()
    torch.testing.assert_close(pairs, torch.cat([below["original"], below["reconstruction"]], dim=3))


def test_what_is_unusable_in_a_folder_is_left_out_by_name_and_what_is_named_is_not(
    use, run_dir, conditional_run, tmp_path, capsys
):
    own = own_digits(tmp_path / "own")
    (own / "mine_1.png").write_text("no image")
    Image.new("L", (9, 9)).save(own / "blank.png")
    assert use("reconstruct", run_dir, "--images", own, "--output", tmp_path / "a") == 0
    screen = capsys.readouterr().out
    assert "left out: " in screen and "mine_1.png can't be read" in screen and "blank.png is blank" in screen
    images = json.loads(report_of(tmp_path / "a").read_text())["images"]
    assert [image["name"] for image in images] == ["mine_0.png", "mine_2.png"]
    flags = ["--digit", 9, 1, 2, 3, "--output", tmp_path / "b"]
    assert use("reconstruct", conditional_run, "--images", own, *flags) == 0  # a class for each file, in their order
    images = json.loads(report_of(tmp_path / "b").read_text())["images"]
    assert [image["class"] for image in images] == ["1", "3"]
    assert use("reconstruct", run_dir, "--images", own, own / "mine_1.png", "--output", tmp_path / "c") == 1
    for number in (0, 2):
        (own / f"mine_{number}.png").unlink()
    assert use("reconstruct", run_dir, "--images", own, "--output", tmp_path / "c") == 1
    err = capsys.readouterr().err
    assert "mine_1.png can't be read as an image" in err and "none of the 2 images in" in err and err.count("\n") == 2
    assert not (tmp_path / "c").exists()


def test_own_images_are_scored_without_the_data_too(run_dir, tmp_path, capsys):
    own = own_digits(tmp_path / "own", 1)
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    state["config"] |= {"dataset": "mnist", "data_dir": str(tmp_path / "nowhere")}
    torch.save(state, tmp_path / "x.pt")
    flags = ["--checkpoint", str(tmp_path / "x.pt"), "--images", str(own), "--output", str(tmp_path / "out")]
    assert main(["reconstruct", *flags]) == 0
    assert "not compared with test images" in capsys.readouterr().out
