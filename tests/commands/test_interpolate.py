import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from vae.plots import images as figures
from vae.runs.inputs import pair_to_join
from vae.system.errors import UsageError

WAYS = {
    "image0-image1": (),
    "image3-image18": ("--images", 3, 18),
    "3-8_spherical": ("--digits", 3, 8, "--path", "spherical"),
    "random-seed3": ("--random", "--seed", 3),
}


@pytest.mark.figures
@pytest.mark.parametrize("ends", WAYS)
def test_the_command_writes_a_strip_and_an_animation_there_and_back(use, run_dir, tmp_path, ends):
    assert use("interpolate", run_dir, "--steps", 4, *WAYS[ends], "--output", tmp_path) == 0
    assert imread(tmp_path / f"interpolation_{ends}_4steps.png").ndim == 3
    with Image.open(tmp_path / f"interpolation_{ends}_4steps.gif") as film:
        assert 4 < film.n_frames <= 24  # 13 frames there and 11 back; those that look the same are merged


def test_a_strip_that_is_too_long_for_one_row_has_several(use, run_dir, tmp_path, monkeypatch):
    grids = []
    monkeypatch.setattr(
        figures, "render_frames", lambda images, **kwargs: [np.zeros((2, 2, 3), np.uint8)] * len(images)
    )
    monkeypatch.setattr(figures, "draw_grid", lambda path, images, **kwargs: grids.append((len(images), kwargs)))
    assert use("interpolate", run_dir, "--random", "--steps", 30, "--output", tmp_path) == 0
    ((count, options),) = grids
    assert (count, options["columns"], list(options["headings"])) == (30, 16, [])


def test_the_ends_are_named_by_the_indices_that_images_takes(use, run_dir, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(figures, "render_frames", lambda images, **options: [np.zeros((2, 2, 3), np.uint8)] * 2)
    monkeypatch.setattr(figures, "draw_grid", lambda path, images, **options: drawn.append((images, options)))
    flags = ("--steps", 2, "--output", tmp_path, "--overwrite")
    assert use("interpolate", run_dir, "--digits", 3, 8, *flags) == 0
    words = capsys.readouterr().out.replace("(", " ").split()
    indices = [word for word in words if word.isdigit()]
    assert drawn[0][1]["headings"] == [f"#{indices[0]}", "0.00", "1.00", f"#{indices[1]}"]
    assert use("interpolate", run_dir, "--images", *indices, *flags) == 0
    assert drawn[0][0].equal(drawn[1][0]) and drawn[0][1] == drawn[1][1]


def test_a_conditional_model_interpolates_within_one_class(use, conditional_run, tmp_path, capsys):
    assert use("interpolate", conditional_run, "--steps", 2, "--output", tmp_path / "a.png") == 0
    assert use("interpolate", conditional_run, "--digits", 3, 8, "--output", tmp_path / "b.png") == 2
    assert "choose the digit to decode" in capsys.readouterr().err
    flags = ["--digits", 3, 8, "--digit", 3, "--steps", 2, "--output", tmp_path / "b.png"]
    assert use("interpolate", conditional_run, *flags) == 0


@pytest.mark.parametrize(
    ("labels", "conditional", "pair"),
    [
        ([3, 3, 5, 3], False, (0, 2)),
        ([3, 3, 5, 3], True, (0, 1)),
        ([3, 3], False, (0, 1)),  # a single class
        ([3, 5, 4, 5], True, (1, 3)),  # no other image of the first one's class
        ([3, 5], True, None),
        ([3], False, None),
    ],
)
def test_without_ends_it_goes_from_an_image_to_another(labels, conditional, pair):
    if pair:
        assert pair_to_join(torch.tensor(labels), same_class=conditional) == pair
    else:
        with pytest.raises(UsageError, match="the test set has no two images"):
            pair_to_join(torch.tensor(labels), same_class=conditional)


def test_images_and_classes_that_the_test_set_lacks_are_refused(use, run_dir, capsys):
    for flags, words in (
        (("--images", 0, 360), "image 360: the test"),
        (("--digits", 3, 10), "digit 10: no test image"),
    ):
        assert use("interpolate", run_dir, *flags) == 2
        assert f"error: {words}" in capsys.readouterr().err
    assert use("traverse", run_dir, "--image", 360) == 2
    assert "the test set has the images 0 to 359" in capsys.readouterr().err
