"""Scrubbing through training in the report: curves, samples and map move together."""

import json

import numpy as np
import pytest
from in_browser import NEXT_FRAME, STEPPED_CLOCK, by_id, needs_browser, open_report
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from vae.plots.snapshots import read_snapshot

pytestmark = [pytest.mark.slow, needs_browser]

PIXELS = """
const canvas = document.getElementById(arguments[0]);
const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return [Array.from(data), width];
"""
SPY = """
window.called = [];
const { map } = vae, setPlaces = map.setPlaces.bind(map);
map.setPlaces = (places, epoch) => {
  called.push([places && Array.from(places), epoch]);
  setPlaces(places, epoch);
};
"""
EPOCH = "return vae.map.epoch"
# Press the button, and return the slider's value and the map of each frame until it is no longer pressed.
PLAY = """
const done = arguments[0], button = document.getElementById("roll"), steps = [];
const watch = () => {
  steps.push([document.getElementById("scrubber").valueAsNumber, document.getElementById("means").toDataURL()]);
  if (button.ariaPressed === "true") requestAnimationFrame(watch);
  else done(steps);
};
button.click();
requestAnimationFrame(watch);
"""


def pixels_of(browser, name):
    """A canvas as RGB, (height, width, 3)."""
    browser.execute_async_script(NEXT_FRAME)
    data, width = browser.execute_script(PIXELS, name)
    return np.array(data).reshape(-1, width, 4)[..., :3]


def snapshot_of(run_dir, epoch):
    return read_snapshot(run_dir / "epochs" / f"epoch_{epoch:03d}.npz")


def assert_all_shows(browser, run_dir, epoch):
    """Readings of the curves, samples and words are those of an epoch."""
    row = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[epoch - 1])
    assert by_id(browser, "epoch").text == f"epoch {epoch}"
    assert f"test {row['test/recon']:.2f}" in by_id(browser, "curves").text.replace("\n", " ")
    loss = f"test −ELBO {-row['test/elbo']:.2f}"
    assert by_id(browser, "frame").text == f"epoch {epoch}: {loss}"
    value = by_id(browser, "scrubber").get_attribute("aria-valuetext")
    assert value.startswith(f"epoch {epoch} of ") and value.endswith(loss)
    assert by_id(browser, "samples").accessible_name.startswith(f"Samples after epoch {epoch},")
    assert by_id(browser, "means").accessible_name.endswith(f"after epoch {epoch}; {loss}")
    snapshot, sheet = snapshot_of(run_dir, epoch), pixels_of(browser, "samples")[..., 0]
    _, _, height, width = snapshot.samples.shape
    grid = sheet.reshape(-1, height, snapshot.columns, width).transpose(0, 2, 1, 3).reshape(-1, height, width)
    assert np.abs(grid - snapshot.samples[: len(grid), 0].astype(int)).max() <= 9  # 16 levels


def test_the_slider_moves_curves_samples_and_map_by_keys(browser, plane, many, given):
    for run_dir, epochs in ((plane, (1, 2, 4)), (many, (1, 5, 6))):
        open_report(browser, run_dir)
        assert_all_shows(browser, run_dir, epochs[-1])
        slider = by_id(browser, "scrubber")
        for key, epoch in ((Keys.HOME, epochs[0]), (Keys.ARROW_RIGHT, epochs[1]), (Keys.END, epochs[2])):
            slider.send_keys(key)
            assert_all_shows(browser, run_dir, epoch)
    open_report(browser, given)  # a run of one epoch
    assert not browser.find_elements("id", "scrubber")


def test_the_map_shows_each_epoch_s_means(browser, plane):
    open_report(browser, plane)
    browser.execute_script(SPY)
    kept = browser.execute_script("return data.frames")
    shares = []
    for i, epoch in enumerate(kept["epochs"]):
        browser.execute_script("scrubber.value = arguments[0]; scrubber.dispatchEvent(new Event('input'))", i)
        picture, mu = pixels_of(browser, "means"), snapshot_of(plane, epoch).mu.astype(float)
        places, other = ((mu - (kept["left"], kept["bottom"])) / kept["side"] for mu in (mu, np.roll(mu, 1, axis=1)))
        drawn = np.abs(picture - picture[0, -1]).sum(2) > 60  # not paper nor grid
        size = len(picture)
        for where in (places, other):
            column, row = (np.clip(place, 0, 0.999) * size for place in (where[:, 0], 1 - where[:, 1]))
            shares.append(drawn[row.astype(int), column.astype(int)].mean())
        assert shares[-2] > 0.9 and shares[-2] > shares[-1] + 0.2
        places, called = browser.execute_script("return called.at(-1)")
        if epoch == kept["epochs"][-1]:
            assert places is None and called is None
        else:
            assert called == epoch
            error = np.abs(np.reshape(places, (-1, 2)) - mu).max(1)
            assert (error < kept["side"] / 60_000).mean() > 0.98


def test_a_pointer_over_the_curves_moves_the_slider_while_it_is_there_and_a_click_or_key_the_large_map_too(
    browser, plane
):
    open_report(browser, plane)
    curves = by_id(browser, "curves")
    browser.execute_script("arguments[0].scrollIntoView()", curves)
    picture = curves.find_element("tag name", "svg")

    def move_to_first():
        return ActionChains(browser).move_to_element_with_offset(picture, -picture.size["width"] // 2 + 50, 0)

    def leave():
        ActionChains(browser).move_to_element(by_id(browser, "samples")).perform()

    move_to_first().perform()
    assert_all_shows(browser, plane, 1)
    assert browser.execute_script(EPOCH) is None
    leave()
    assert_all_shows(browser, plane, 4)
    move_to_first().click().perform()
    leave()
    assert_all_shows(browser, plane, 1)
    assert browser.execute_script(EPOCH) == 1
    curves.send_keys(Keys.ARROW_RIGHT)
    assert_all_shows(browser, plane, 2)
    assert browser.execute_script(EPOCH) == 2
    curves.send_keys(Keys.ARROW_RIGHT)  # epoch 3, of which nothing was kept
    assert by_id(browser, "epoch").text == "epoch 3" and by_id(browser, "frame").text.startswith("epoch 2:")


def test_a_finger_that_scrolls_over_the_curves_leaves_the_epoch_and_a_tap_does_not(browser, plane):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def touch(kind, *places):
        fingers = {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", fingers)

    try:
        open_report(browser, plane)
        picture = by_id(browser, "curves").find_element("tag name", "svg")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
        box = "const { x, y } = arguments[0].getBoundingClientRect(); return [x, y, scrollY]"
        left, top, scrolled = browser.execute_script(box, picture)
        touch("touchStart", (left + 50, top + 80))
        for step in range(1, 20):
            touch("touchMove", (left + 50, top + 80 - 8 * step))
        touch("touchEnd")
        assert_all_shows(browser, plane, 4)
        left, top, now = browser.execute_script(box, picture)
        assert now > scrolled + 50
        touch("touchStart", (left + 50, top + 80))
        touch("touchEnd")
        assert_all_shows(browser, plane, 1)
        assert browser.execute_script(EPOCH) == 1
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_large_map_of_an_earlier_epoch_says_so_and_is_brought_back_before_a_place_is_decoded(browser, plane):
    open_report(browser, plane)
    canvas = by_id(browser, "map")
    by_id(browser, "scrubber").send_keys(Keys.HOME)
    assert canvas.accessible_name.endswith(", after epoch 1") and by_id(browser, "near").text == "the map shows epoch 1"
    browser.execute_script("vae.show([0.5, 0.5])")
    browser.execute_async_script(NEXT_FRAME)
    assert by_id(browser, "near").text == "the map shows epoch 1"
    assert not by_id(browser, "neighbour").is_displayed()
    for bring_back in (
        lambda: ActionChains(browser).move_to_element(canvas).perform(),
        lambda: canvas.send_keys("\ue014"),
    ):
        by_id(browser, "scrubber").send_keys(Keys.HOME)
        bring_back()
        assert_all_shows(browser, plane, 4)
        assert browser.execute_script(EPOCH) is None and "epoch" not in canvas.accessible_name
        assert by_id(browser, "near").text.startswith("nearest test image: ")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_playing_goes_once_through_to_the_end_in_steps_where_less_motion_is_preferred(browser, plane, motion):
    media = {"features": [{"name": "prefers-reduced-motion", "value": motion}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        open_report(browser, plane)
        browser.execute_script(STEPPED_CLOCK, 50)
        steps = browser.execute_async_script(PLAY)  # 0.7 s of the page
        values, pictures = [value for value, _ in steps], {picture for _, picture in steps}
        assert values == sorted(values) and values[-1] == 2 and set(values) == {0, 1, 2}
        assert len(pictures) == 3 if motion == "reduce" else len(pictures) > 5
        assert_all_shows(browser, plane, 4)
        browser.execute_script("roll.click(); roll.click()")  # begins again, and stops at once
        assert by_id(browser, "roll").get_attribute("aria-pressed") == "false"
        assert by_id(browser, "scrubber").get_attribute("value") == "2"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (360, 740)])
def test_a_curve_the_slider_samples_and_map_are_seen_at_once(browser, many, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_report(browser, many)
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
        browser.execute_script("document.getElementById('training').scrollIntoView()")
        browser.execute_async_script(NEXT_FRAME)
        boxes = browser.execute_script(
            "return ['#curves figure', '#scrubber', '#samples', '#means'].map((place) => {"
            "const { left, right, top, bottom } = document.querySelector(place).getBoundingClientRect();"
            "return [left, right, top, bottom]; })"
        )
        for left, right, top, bottom in boxes:
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
        curve, *others = boxes
        assert all(curve[3] <= top for _, _, top, _ in others)  # nothing covers it
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
