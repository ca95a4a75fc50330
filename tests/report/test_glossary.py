import dataclasses

import pytest
from html_tags import Tags

from vae.config.presets import Expected, configure
from vae.report.glossary import good_value

RESULTS = {"dataset": "MNIST"}


def test_every_term_that_can_be_pressed_has_its_card_and_every_card_its_term(finished_run):
    tags = Tags((finished_run / "outputs" / "whole" / "report.html").read_text("utf-8")).tags
    pressed = {attributes["popovertarget"] for _, attributes in tags if "popovertarget" in attributes}
    cards = {attributes["id"] for _, attributes in tags if "popover" in attributes}
    assert (
        pressed
        == cards
        >= {
            "about-elbo",
            "about-recon",
            "about-kl",
            "about-nats",
            "about-active",
            "about-good",
        }
    )


def test_a_good_value_is_that_of_the_preset_and_of_others_with_the_same_pixels(monkeypatch):
    measured = {
        "mlp-2d": Expected(60, 3, 148.0, 0.5),
        "mlp-20d": Expected(20, 3, 100.0, 0.1),
        "record": Expected(200, 3, 82.3, 0.1),  # of binary pixels: another protocol
    }
    monkeypatch.setattr("vae.report.glossary.EXPECTED", measured)
    text = good_value(configure({}), RESULTS, expected=measured["mlp-2d"], floor=45.534)
    assert "mlp-2d is expected to give 148.00 ± 0.50 nats here, after 60 epochs." in text
    assert "the best first: mlp-20d 100.0, mlp-2d 148.0." in text and "record" not in text
    assert "None can be below 45.53" in text


@pytest.mark.parametrize("floor", [None, 0.0])
def test_of_other_data_a_good_value_claims_nothing(floor):
    config = dataclasses.replace(configure({}), dataset="digits")
    text = good_value(config, {"dataset": "digits"}, expected=None, floor=floor)
    assert text == "Only figures of the same data and protocol can be compared."


def test_the_figures_of_a_density_may_be_negative_and_the_card_says_so():
    config = dataclasses.replace(configure({}), recon_loss="continuous_bernoulli")
    assert "below zero" in good_value(config, RESULTS, expected=None, floor=None)
