"""Scatter plots and training curves."""

import itertools

import numpy as np
import pytest

from vae.plots import charts

pytestmark = pytest.mark.pictures
LABELS = {"title": "t", "subtitle": "s"}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that charts would have written."""
    figures = []
    monkeypatch.setattr(charts, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def rows_of(count):
    """Epochs of a run that falls from 160 to about 100, with a test curve that ends at nearly the train curve's end."""
    rows = []
    for epoch in range(1, count + 1):
        kl, recon = 5.0 + epoch / count, 95 + 60 / epoch
        row = {"epoch": epoch}
        for split, more in (("train", 0.0), ("val", 0.02), ("test", 0.01)):
            row |= {f"{split}/recon": recon + more, f"{split}/kl": kl, f"{split}/elbo": -recon - kl - more}
        rows.append(row)
    return rows


@pytest.mark.parametrize(("count", "panels"), [(1, 3), (2, 3), (10, 3), (20, 6), (60, 6)])
def test_loss_curves_show_every_epoch_and_a_longer_run_s_later_epochs_again(drawn, tmp_path, count, panels):
    rows = rows_of(count)
    charts.draw_loss_curves(tmp_path / "x.png", rows, **LABELS)
    (figure,) = drawn
    assert len(figure.axes) == panels
    for axes, term in zip(figure.axes, ("elbo", "recon", "kl"), strict=False):
        (first, last), values = axes.get_ylim(), [abs(row[f"train/{term}"]) for row in rows]
        assert first < min(values) and max(values) < last
        assert axes.lines[0].get_xdata().tolist() == [row["epoch"] for row in rows]
    for axes in figure.axes[3:]:
        start = rows[count // 10]["epoch"]
        assert axes.lines[0].get_xdata()[0] == start and axes.get_title("left").endswith(f"from epoch {start} on")


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (2, [1, 2]), (60, [1, 10, 20, 30, 40, 50, 60])])
def test_the_first_epoch_has_a_tick(drawn, tmp_path, count, expected):
    charts.draw_loss_curves(tmp_path / "x.png", rows_of(count), **LABELS)
    assert drawn[0].axes[0].get_xticks().tolist() == expected
    if count == 60:
        assert drawn[0].axes[3].get_xticks().tolist() == [7, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("count", [1, 60])
def test_last_values_stand_at_the_ends_of_the_curves_without_overlap_and_within_the_page(drawn, tmp_path, count):
    charts.draw_loss_curves(tmp_path / "x.png", rows_of(count), **LABELS)
    (figure,) = drawn
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
        assert len(boxes) == 3 and all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
        assert all(box.x1 < figure.bbox.x1 for box in boxes)
        assert axes.bbox.y0 <= boxes[0].y0 + 2 and boxes[-1].y1 - 2 <= axes.bbox.y1  # and not over the panel's title
    assert [text.get_text() for text in figure.axes[2].texts] == ["train 6.00", "val 6.00", "test 6.00"]


def scatter(points, classes=10, **options):
    names = [str(index) for index in range(classes)]
    axis_labels = {"axis_labels": ("a", "b"), "class_names": names}
    return charts.scatter_figure(points, np.arange(len(points)) % classes, **axis_labels, **LABELS, **options)


@pytest.mark.parametrize("options", [{}, {"circles": True}, {"limit": 5}])
def test_a_unit_is_as_long_on_both_axes_of_a_scatter_and_no_point_is_cut_off(options):
    points = np.random.default_rng(0).normal(size=(200, 2)) * (9, 0.3) + (5, 1) if not options else np.zeros((20, 2))
    figure = scatter(points, **options)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    window, (left, right), (low, high) = axes.get_window_extent(), axes.get_xlim(), axes.get_ylim()
    assert window.width / (right - left) == pytest.approx(window.height / (high - low), rel=1e-3)
    assert (points > (left, low)).all() and (points < (right, high)).all()
    if options.get("limit"):
        assert (left, right, low, high) == (-5, 5, -5, 5)


def test_the_prior_s_first_two_standard_deviations_are_marked_and_named():
    axes = scatter(np.zeros((20, 2)), circles=True).axes[0]
    assert [circle.get_radius() for circle in axes.patches] == [1, 2]
    assert axes.get_title("right") == "dashed: 1σ and 2σ of the prior"  # above the frame, where no class's name is
    assert axes.get_xlim()[0] < -2 and axes.get_ylim()[1] > 2
    plain = scatter(np.zeros((20, 2))).axes[0]
    assert not plain.patches and not plain.get_title("right")


def names_in(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_no_class_is_named_whose_median_lies_outside_the_frame():
    points = np.zeros((200, 2))
    points[3::10] = 7, 0
    assert names_in(scatter(points, limit=5)) == [str(index) for index in range(10) if index != 3]
    assert len(names_in(scatter(points))) == 10


def test_names_don_t_hide_few_points():
    assert len(names_in(scatter(np.zeros((100, 2))))) == 10
    few = scatter(np.zeros((90, 2)))
    assert not names_in(few) and len(few.axes[0].get_legend().get_texts()) == 10


def test_classes_of_one_colour_have_two_markers_in_the_plot_and_in_the_legend():
    axes = scatter(np.zeros((400, 2)), classes=20).axes[0]
    dots, crosses = (points for points in axes.collections if len(points.get_offsets()))
    assert len(dots.get_offsets()) == len(crosses.get_offsets()) == 200
    handles = axes.get_legend().legend_handles
    for index, handle in enumerate(handles):
        expected = (dots, crosses)[index // 10].get_paths()[0]
        assert np.array_equal(handle.get_paths()[0].vertices, expected.vertices)
    assert len(handles) == 20


def test_a_rendered_scatter_is_a_small_picture():
    points = np.zeros((4, 2))
    picture = charts.render_scatter(
        points, np.arange(4), class_names=["a", "b", "猫", "$^$"], axis_labels=("a", "b"), circles=True, **LABELS
    )
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and max(picture.shape) < 600
    assert (picture == 255).mean() > 0.5 and picture.min() < 60
