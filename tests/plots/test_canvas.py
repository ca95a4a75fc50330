"""The page's colours and the lines under its title."""

import itertools
import re

import numpy as np
import pytest
from small_runs import ROOT

from vae.plots.canvas import COLORS, new_figure, subtitle_of

# Linear RGB as seen with no cones of a kind, and what OKLab makes of it.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}  # Machado, Oliveira & Fernandes 2009, severity 1
TO_LMS = [[0.4122215, 0.5363325, 0.0514460], [0.2119035, 0.6806995, 0.1073970], [0.0883025, 0.2817188, 0.6299787]]
TO_LAB = [[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937], [0.0259040, 0.7827718, -0.8086758]]


def linear(color):
    """Linear RGB (3,) of `#rrggbb`: sRGB, IEC 61966-2-1."""
    value = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG 2.2's contrast ratio."""
    dark, light = sorted(linear(color) @ (0.2126, 0.7152, 0.0722) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def oklab(color, vision):
    """Ottosson 2020, times 100."""
    seen = (np.array(VISION[vision]) @ linear(color)).clip(0, 1)
    return 100 * np.array(TO_LAB) @ np.cbrt(np.array(TO_LMS) @ seen)


def page_colors(theme):
    """The report page's colours of the classes in the light theme, 0, or the dark one, 1."""
    css = (ROOT / "vae/report/static/report.css").read_text("utf-8")
    return [re.findall(rf"--class-{index}: (#[0-9a-f]{{6}});", css)[theme] for index in range(10)]


def test_the_contrast_of_known_colours():
    assert contrast("#ffffff", "#000000") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )


def test_the_page_has_the_pictures_colours():
    assert page_colors(0) == list(COLORS)


@pytest.mark.parametrize(("colors", "page"), [(COLORS, "#ffffff"), (page_colors(1), "#1b1e26")], ids=["light", "dark"])
def test_every_class_stands_out_from_the_page_and_from_every_other_class(colors, page):
    assert min(contrast(color, page) for color in colors) >= 3
    for vision in VISION:
        distances = {
            (i, j): np.linalg.norm(oklab(colors[i], vision) - oklab(colors[j], vision))
            for i, j in itertools.combinations(range(10), 2)
        }
        assert min(distances.values()) > 9, (vision, min(distances, key=distances.get))
        assert min(distances[4, 9], distances[7, 9], distances[4, 7], distances[3, 5], distances[3, 8]) > 12


def about(**changes):
    given = {"seed": 0, "epoch": 60, "protocol": "grey pixels", "minus_elbo": 148.021}
    return subtitle_of("MNIST", "mlp-512-2d", **(given | changes), more=["pixel means"])


def test_a_subtitle_names_the_data_the_model_the_seed_the_epoch_and_the_score_with_its_protocol():
    assert about() == "MNIST · mlp-512-2d, seed 0 · epoch 60 · test −ELBO 148.02 (grey pixels) · pixel means"
    assert about(minus_elbo=None) == "MNIST · mlp-512-2d, seed 0 · epoch 60 · grey pixels · pixel means"


def test_a_subtitle_takes_three_lines_of_a_narrow_picture_at_most_and_keeps_numbers_with_their_names():
    lines = new_figure(3.6, 3.6, "t", about(protocol="grey pixels, given the class")).texts[1].get_text().split("\n")
    assert len(lines) <= 3 and not any(line.endswith(("seed", "epoch", "ELBO", "mlp-")) for line in lines)
    assert not any(line.startswith("·") for line in lines)
