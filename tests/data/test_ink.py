"""Photos of digits come out as clean scans of them do, whatever the light, the paper and the pen."""

from functools import cache

import numpy as np
import pytest
from made_photos import (
    KINDS,
    Scene,
    dark_corners,
    hard_shadow,
    level,
    make,
    phone_shadow,
    photograph,
    scan,
    soft_shadow,
)
from PIL import Image
from sklearn.datasets import load_digits

from vae.data.ink import find_ink, place, stroke_width

GLYPHS = load_digits().images[:10] / 16  # one of each digit
# Two renderings of a glyph, turned by up to 3 degrees, correlate by 0.8 to 1; those of two digits by 0.83 at most.
ALIKE = 0.8
HARD = ("plain photo", "hard shadow", "dark corners", "pencil on lined paper", "blackboard", "table edge", "thumb")
HARD += ("tilted sheet on a table",)


def prepared(picture):
    ink = find_ink(picture)
    return np.zeros((28, 28)) if ink is None else place(ink.strength, mass=True)[0, 0].numpy().astype(float)


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1] if one.any() else 0


@cache
def scans(level):
    """What the ten digits look like as clean scans."""
    return [prepared(scan(glyph, level)) for glyph in GLYPHS]


def is_read(kind, seed):
    """Whether a photo is more like the clean scan of its own digit than like those of the nine others."""
    photo = prepared(make(GLYPHS[seed % 10], kind, seed))
    return np.argmax([correlation(photo, clean) for clean in scans(level(kind, seed))]) == seed % 10


@pytest.mark.parametrize(
    "kind", [kind if kind in HARD else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_a_photo_looks_as_a_clean_scan_of_its_digit_does(kind):
    photo = prepared(make(GLYPHS[6], kind, 6))
    assert correlation(photo, prepared(scan(GLYPHS[6], level(kind, 6)))) > ALIKE


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_of_ten_photos_of_a_kind_all_but_one_are_read(kind):
    assert sum(is_read(kind, seed) for seed in range(10)) >= 9


@pytest.mark.parametrize("light", [soft_shadow, hard_shadow, phone_shadow, dark_corners])
def test_shadows_change_neither_ink_nor_its_strength(light):
    photo = prepared(photograph(GLYPHS[3], Scene(light=light), np.random.default_rng(0)))
    lit = prepared(photograph(GLYPHS[3], Scene(), np.random.default_rng(0)))
    assert correlation(photo, lit) > 0.97


@pytest.mark.parametrize(
    ("kind", "edged"),
    [("plain photo", False), ("lined paper", False), ("sheet on a table", True), ("tilted sheet on a table", True)],
)
def test_what_is_ignored_at_the_edge_is_reported(kind, edged):
    assert all(find_ink(make(GLYPHS[seed], kind, seed)).edged == edged for seed in range(3))


@pytest.mark.parametrize("width", [10, 40, 90])
def test_a_table_of_any_width_is_reported_and_does_not_make_a_photo_blank(width):
    draw = np.random.default_rng(0)
    photo = np.asarray(photograph(GLYPHS[3], Scene(reach=0), draw)).copy()
    alone = prepared(Image.fromarray(photo))
    table = draw.normal((60, 40, 25), 5, photo.shape).clip(0, 255)
    photo[:, :width], photo[:width] = table[:, :width], table[:width]
    assert correlation(prepared(Image.fromarray(photo)), alone) > 0.98
    assert find_ink(Image.fromarray(photo)).edged


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("times", [1, 10])
def test_ink_may_fill_a_drawing_to_its_edges(light, times):
    page = np.zeros((20, 14), np.uint8)
    page[:3, :], page[:, 5:9] = 255, 255  # a T, as wide and as high as the drawing
    drawing = np.kron(page, np.ones((times, times), np.uint8))
    ink = find_ink(Image.fromarray(255 - drawing if light else drawing))
    assert ink.light == light and ink.strength.shape == drawing.shape
    assert np.abs(ink.strength - drawing / 255).max() < 0.01


def test_colours_as_bright_as_the_page_are_ink():
    page = np.full((200, 150, 3), (250, 120, 120), np.uint8)
    page[50:150, 70:80] = (120, 190, 120)
    ink = find_ink(Image.fromarray(page))
    assert ink.strength.shape == pytest.approx((100, 10), abs=2)


def test_a_thing_may_be_wider_than_a_stroke():
    page = np.full((300, 300), 240.0) - np.linspace(0, 100, 300)
    page[60:240, 50:250] *= 0.3
    page[60:240, 120:180] *= 0.6
    ink = find_ink(Image.fromarray(page.astype(np.uint8)), solid=True)
    assert ink.light and ink.strength.shape == pytest.approx((180, 200), abs=4)
    assert ink.strength[4:-4, 4:-4].min() > 0.4


@pytest.mark.parametrize("width", [2, 4, 10])
def test_the_width_of_strokes_is_measured_on_dark_and_on_light(width):
    pages = np.zeros((3, 60, 60), np.uint8)
    pages[:2, :, 20 : 20 + width] = 255  # two lines from edge to edge, and an empty page
    for images in (pages, 255 - pages):
        assert stroke_width(images) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("size", [(300, 300), (400, 240)])
def test_a_light_digit_that_is_a_bar_or_a_ring_on_a_dark_page_is_no_sheet(size):
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]] / np.array(size).reshape(2, 1, 1) - 0.5
    ring = np.hypot(rows / 0.4, columns / 0.3)
    for shape in ((abs(rows) < 0.4) & (abs(columns) < 0.08), (ring < 1) & (ring > 0.6)):
        page = (20 + 210 * shape[..., None] + draw.normal(0, 3, (*size, 3))).clip(0, 255)
        ink = find_ink(Image.fromarray(page.astype(np.uint8)))
        assert not ink.light and not ink.edged
        assert ink.strength.shape == pytest.approx(
            (np.ptp(np.flatnonzero(shape.any(1))), np.ptp(np.flatnonzero(shape.any(0)))), abs=5
        )
