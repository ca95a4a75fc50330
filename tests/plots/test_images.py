import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from vae.evaluation.latents import tsne
from vae.plots import charts
from vae.plots import images as figures
from vae.plots.pictures import first_of_each_class, pairs_to_join

pytestmark = pytest.mark.pictures


def test_tile_lays_images_row_by_row_with_gaps():
    images = torch.arange(3).reshape(3, 1, 1, 1).expand(3, 1, 2, 2) / 2
    sheet = figures.tile(images, 2, gap=1, background=0.25)
    expected = [[0, 0, 0.25, 0.5, 0.5]] * 2 + [[0.25] * 5] + [[1, 1, 0.25, 0.25, 0.25]] * 2
    np.testing.assert_allclose(sheet, expected)
    assert figures.tile(torch.rand(4, 3, 2, 2), 2).shape == (6, 6, 3)


def test_a_png_has_the_image_s_own_pixels(tmp_path):
    for channels in (1, 3):
        image = torch.rand(channels, 5, 7, generator=torch.Generator().manual_seed(0))
        figures.write_png(tmp_path / "x.png", image)
        with Image.open(tmp_path / "x.png") as picture:
            pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).reshape(5, 7, channels) / 255
        assert (pixels.permute(2, 0, 1) - image).abs().max() <= 0.5 / 255 + 1e-6


def test_class_names_may_hold_anything(tmp_path):
    points, labels = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 4
    names = ["$^$", "_hidden", "猫", "a" * 40]
    charts.draw_scatter(
        tmp_path / "x.png", points, labels, class_names=names, title="$t", subtitle="s", axis_labels=("a", "b")
    )
    assert imread(tmp_path / "x.png").ndim == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_have_at_least_150_dpi_and_a_white_page(tmp_path, channels):
    path = tmp_path / "x.png"
    figures.draw_grid(path, torch.zeros(64, channels, 28, 28), columns=8, title="t", subtitle="s")
    with Image.open(path) as picture:
        assert round(picture.info["dpi"][0]) >= 150
    pixels = imread(path)[..., :3]
    assert (pixels[:20] == 1).mean() > 0.5 and (pixels == 0).mean() > 0.5  # page above, black digits below


def test_one_image_of_every_class_per_row():
    labels = torch.tensor([1, 0, 2, 2, 1, 0, 0, 2])
    assert first_of_each_class(labels, [0, 1, 2], 3).tolist() == [1, 0, 2, 5, 4, 3]  # class 1 has only two


def test_pairs_are_disjoint_and_of_one_class_or_of_two():
    labels = [0, 1, 2, 0, 1, 2]
    for same in (True, False):
        pairs = pairs_to_join(labels, same=same)
        assert len(pairs) == 3 and len({index for pair in pairs for index in pair}) == 6
        assert all((labels[i] == labels[j]) == same for i, j in pairs)
    assert pairs_to_join([0, 1], same=True) == []


def test_long_titles_are_wrapped_within_the_page(tmp_path):
    long = {"title": "word " * 20, "subtitle": "word " * 60}
    figures.draw_grid(tmp_path / "x.png", torch.zeros(4, 1, 8, 8), columns=2, **long)
    pixels = imread(tmp_path / "x.png")[..., :3]
    assert (pixels[:100, -6:] == 1).all() and (pixels[:100] < 1).any()  # written, and not over the right edge


@pytest.mark.parametrize("dims", [1, 2, 7])
def test_tsne_is_seeded_and_finite(dims):
    points = np.random.default_rng(0).normal(size=(40, dims)).astype(np.float32)
    first, second = tsne(points, seed=1), tsne(points, seed=1)
    assert first.shape == (40, 2) and np.isfinite(first).all() and np.array_equal(first, second)


def test_long_headings_are_shortened_and_slanted_and_short_ones_are_left_alone(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure))
    for names in ([str(number) for number in range(10)], ["$^$ a very long class name of 30"] * 10):
        figures.draw_grid(
            tmp_path / "x", torch.zeros(20, 1, 28, 28), columns=10, title="t", subtitle="s", headings=names
        )
    short, long = ([*figure.axes[0].get_xticklabels()] for figure in drawn)
    assert [label.get_text() for label in short] == list("0123456789") and short[0].get_rotation() == 0
    assert {(label.get_text(), label.get_rotation(), label.get_parse_math()) for label in long} == {
        ("$^$ a very long c…", 40, False)
    }


def test_names_on_a_map_stay_within_it_and_off_each_other(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "save_figure", lambda figure, path: drawn.append(figure))
    points = np.random.default_rng(0).normal(0, 0.1, (100, 2)) + 4 * (np.arange(100) % 5 == 0)[:, None]
    charts.draw_scatter(
        tmp_path / "x",
        points,
        np.arange(100) % 10,
        class_names=["a class of a rather long name"] * 10,
        title="t",
        subtitle="s",
        axis_labels=("a", "b"),
        limit=5,
    )
    (figure,) = drawn
    figure.draw_without_rendering()
    window = figure.axes[0].get_window_extent()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 10
    for index, box in enumerate(boxes):
        assert window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])
