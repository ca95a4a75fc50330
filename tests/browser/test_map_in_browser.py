"""The map and the sliders of a report in real Chromium: mouse, touch, wheel, keys, links, and what follows them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from in_browser import by_id, digit, needs_browser, open_report, point

from vae import load_model
from vae.data.datasets import load_splits

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [pytest.mark.slow, needs_browser]

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

REST = "vae.point.rest()"  # in place of a wait for the point to rest
VIEW = "const { left, bottom, side } = vae.map.view; return [left, bottom, side]"
PICTURE = """
const [canvas, done] = arguments;
const read = () => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  done([canvas.width, Array.from(pixels).filter((_, i) => i % 4 === 0)]);
};
const wait = () => (canvas.width > 0 && canvas.width < 100 ? read() : setTimeout(wait, 20));
wait();
"""
BOX = "const box = arguments[0].getBoundingClientRect(); return [box.x, box.y, box.width]"
COUNT_WRITES = """
window.writes = 0;
const write = history.replaceState;
history.replaceState = (...all) => { writes++; write.apply(history, all); };
"""
COUNT_CLOUDS = """
window.drawn = 0;
const draw = Cloud.prototype.draw;
Cloud.prototype.draw = function (...all) { drawn++; return draw.apply(this, all); };
"""
WHEEL = """
const [canvas, deltaY, keys] = arguments, box = canvas.getBoundingClientRect();
const place = { clientX: box.left + box.width / 4, clientY: box.top + box.height / 4 };
const event = new WheelEvent("wheel", { deltaY, ...place, ...keys, bubbles: true, cancelable: true });
canvas.dispatchEvent(event);
return event.defaultPrevented;
"""


@pytest.fixture(scope="module")
def test_images():
    return load_splits("digits", Path()).test


def open_map(browser, run_dir):
    """Open a report with its map in the middle of the window; returns the map's canvas."""
    aside = {"type": "mouseMoved", "x": 1, "y": 1}  # where an earlier test has left the mouse, it would move the point
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", aside)
    browser.get("about:blank")
    open_report(browser, run_dir)
    canvas = by_id(browser, "map")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    return canvas


def open_report_at(browser, run_dir, fragment):
    browser.get("about:blank")
    browser.get((run_dir / "report.html").as_uri() + fragment)


def hover(browser, canvas, right, down):
    """Move the mouse to a place given by shares of the map's side from its middle."""
    side = canvas.size["width"]
    ActionChains(browser).move_to_element_with_offset(canvas, round(right * side), round(down * side)).perform()


def click(browser, canvas, right, down):
    hover(browser, canvas, right, down)
    ActionChains(browser).click().perform()


def touch(browser, canvas, kind, *places, box=None):
    """Dispatch a touch with a finger at each place, given by shares of the map's side from its upper left corner."""
    left, top, side = box or browser.execute_script(BOX, canvas)
    fingers = [{"x": left + x * side, "y": top + y * side, "id": n} for n, (x, y) in enumerate(places)]
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def tap(browser, canvas, place):
    touch(browser, canvas, "touchStart", place)
    touch(browser, canvas, "touchEnd")


def view(browser):
    """Left, bottom and side of what the map shows."""
    return browser.execute_script(VIEW)


def is_pinned(browser):
    assert browser.execute_script("return vae.map.isPinned") == (
        by_id(browser, "pin").get_attribute("aria-pressed") == "true"
    )
    return browser.execute_script("return vae.map.isPinned")


def expected_place(square, right, down):
    left, bottom, side = square
    return [left + side * (0.5 + right), bottom + side * (0.5 - down)]


def test_moving_over_the_map_decodes_what_lies_there(browser, plane):
    canvas, model = open_map(browser, plane), load_model(plane)
    before = digit(browser)
    square = view(browser)
    for right, down in ((0.3, 0.2), (-0.25, 0.1)):
        hover(browser, canvas, right, down)
        z = point(browser)
        np.testing.assert_allclose(z, expected_place(square, right, down), atol=square[2] * 3 / canvas.size["width"])
        after = digit(browser)
        decoded = model.decode(torch.tensor(z[None], dtype=torch.float32)).flatten().detach().numpy() * 255
        assert np.abs(after - decoded).max() <= 1.5  # 1 for the 16 bits, a half for rounding
        assert (after != before).any()
        before = after


def test_the_nearest_test_image_is_shown_with_its_class(browser, plane, many, test_images):
    for run_dir in (plane, many):
        canvas, model = open_map(browser, run_dir), load_model(run_dir)
        mu = model.encode(test_images.images.float() / 255)[0].detach().numpy()
        for right, down in ((0.1, 0.1), (-0.2, 0.15)):
            hover(browser, canvas, right, down)
            nearest = np.square(mu - point(browser)).sum(1).argmin()
            label = test_images.labels[nearest].item()
            assert by_id(browser, "near").text == f"nearest test image: {label}"
            width, pixels = browser.execute_async_script(PICTURE, by_id(browser, "neighbour"))
            image = test_images.images[nearest, 0].numpy()
            assert width == image.shape[1] and np.abs(np.array(pixels) - image.flatten()).max() <= 19  # half a level


def test_images_without_classes_are_explored_too(browser, unlabelled):
    canvas = open_map(browser, unlabelled)
    hover(browser, canvas, 0.1, 0.1)
    point(browser)
    assert by_id(browser, "near").text == "nearest test image"
    assert by_id(browser, "frame").text.startswith("epoch 2: ")


def test_with_many_latents_the_point_snaps_to_a_test_image(browser, many, test_images):
    canvas, model = open_map(browser, many), load_model(many)
    mu = model.encode(test_images.images.float() / 255)[0].detach().numpy()
    for right, down in ((0.1, 0.1), (-0.2, 0.15)):
        hover(browser, canvas, right, down)
        z = point(browser)
        assert np.abs(mu - z).max(1).min() < 1e-3
        marked = browser.execute_script("return vae.map.view.share(vae.map.places.project(vae.point.z))")
        assert np.abs(np.array(marked) - [0.5 + right, 0.5 + down]).max() < 0.2


def test_the_point_is_marked_where_its_latents_lie_while_a_slider_moves(browser, many):
    canvas = open_map(browser, many)
    place = "return vae.map.pointAt()"
    before = browser.execute_script(place)
    browser.find_elements(By.CSS_SELECTOR, ".slider input")[0].send_keys(Keys.END)
    z, after = point(browser), browser.execute_script(place)
    square, side = browser.execute_script("return data.explorer.map"), canvas.size["width"]
    a, b = (z - square["centre"]) @ np.array(square["axes"]).T
    left, bottom, width = view(browser)
    assert after["x"] == pytest.approx((a - left) / width * side, abs=3)
    assert after["y"] == pytest.approx((1 - (b - bottom) / width) * side, abs=3)
    assert after != before


def test_a_click_pins_the_point_and_a_second_one_or_escape_lets_go(browser, plane):
    canvas = open_map(browser, plane)
    for let_go in (
        lambda: ActionChains(browser).click().perform(),
        lambda: ActionChains(browser).send_keys(Keys.ESCAPE).perform(),
    ):
        click(browser, canvas, 0.2, 0.1)
        pinned = point(browser)
        assert is_pinned(browser) and "Pinned at z = " in by_id(browser, "say").get_attribute("textContent")
        hover(browser, canvas, -0.2, 0.2)
        assert (point(browser) == pinned).all()
        assert by_id(browser, "near").text.startswith("under the pointer: ")
        let_go()
        assert not is_pinned(browser)
        hover(browser, canvas, -0.1, -0.1)
        assert (point(browser) != pinned).any() and by_id(browser, "near").text.startswith("nearest test image: ")
    canvas.send_keys(Keys.ENTER)
    assert is_pinned(browser)
    by_id(browser, "pin").click()
    assert not is_pinned(browser)


def test_whatever_else_moves_the_point_lets_go_of_the_pin(browser, plane, many):
    move_morph = "morph.value = 0.5; morph.dispatchEvent(new Event('input'))"
    for run_dir, others in ((plane, ["stamp"]), (many, [".slider .reset"])):
        canvas = open_map(browser, run_dir)
        for press in (
            *(by_id(browser, name).click for name in ("random", "origin", *others) if name != ".slider .reset"),
            *(browser.find_elements(By.CSS_SELECTOR, name)[0].click for name in others if name == ".slider .reset"),
            browser.find_elements(By.CSS_SELECTOR, "#starts button")[2].click,
            lambda: browser.execute_script(move_morph),
            lambda: canvas.send_keys(Keys.ARROW_RIGHT),  # noqa: B023
        ):
            browser.execute_script("vae.show(vae.point.z.map((_, d) => 0.4 - 0.1 * d)); vae.map.hold(true)")
            point(browser)
            assert is_pinned(browser)
            press()
            point(browser)
            assert not is_pinned(browser)


def test_where_one_class_is_looked_at_the_pointer_s_test_image_is_of_that_class(browser, plane, many):
    for run_dir in (plane, many):
        canvas = open_map(browser, run_dir)
        browser.find_elements(By.CSS_SELECTOR, "#legend .chip")[7].click()
        for pinned in (False, True):
            browser.execute_script("vae.map.hold(arguments[0])", pinned)
            for right, down in ((0.3, 0.2), (-0.25, 0.1), (0, -0.3)):
                hover(browser, canvas, right, down)
                point(browser)
                near = by_id(browser, "near").text
                assert near == ("under the pointer: 7" if pinned else "nearest test image: 7")
        browser.find_elements(By.CSS_SELECTOR, "#legend .chip")[7].click()
        browser.execute_script("vae.map.hold(false); vae.show(vae.map.places.of(vae.map.places.labels.indexOf(3)))")
        point(browser)
        assert by_id(browser, "near").text == "nearest test image: 3"


def test_the_places_that_were_pinned_are_the_ends_of_the_morph(browser, plane):
    canvas, ends = open_map(browser, plane), []
    for right, down in ((0.2, 0.1), (-0.1, -0.2)):
        click(browser, canvas, right, down)
        ends.append(point(browser))
        ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    for name, z in zip(("from", "to"), ends, strict=True):
        by_id(browser, name).click()
        np.testing.assert_allclose(point(browser), z, atol=1e-6)
    assert f"end: z = ({ends[1][0]:.2f}".replace("-", "−") in by_id(browser, "to").accessible_name


def test_arrow_keys_move_over_the_map_and_stay_on_it(browser, plane):
    canvas = open_map(browser, plane)
    browser.execute_script("vae.show([0, 0])")
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    square = view(browser)
    np.testing.assert_allclose(point(browser), np.array([2, 1]) * square[2] / 80, rtol=1e-5)
    canvas.send_keys(Keys.SHIFT, *[Keys.ARROW_LEFT] * 30)
    assert point(browser)[0] == pytest.approx(square[0], rel=1e-5)
    assert view(browser) == square


def test_arrow_keys_go_from_test_image_to_test_image(browser, many):
    canvas = open_map(browser, many)
    across = "return vae.map.pointAt().x"
    places = [browser.execute_script(across)]
    for _ in range(5):
        canvas.send_keys(Keys.ARROW_RIGHT)
        point(browser)
        places.append(browser.execute_script(across))
    assert (np.diff(places) > 0).all()


def test_keys_and_buttons_zoom_about_the_point_and_back_to_the_whole_map(browser, plane):
    canvas = open_map(browser, plane)
    whole = view(browser)
    browser.execute_script("vae.show([0.5, -0.5])")
    at = browser.execute_script("return vae.map.pointAt()")
    for closer, further, reset in (
        *[(lambda: canvas.send_keys("+"), lambda: canvas.send_keys("-"), lambda: canvas.send_keys("0"))],
        *[tuple(by_id(browser, name).click for name in ("closer", "further", "whole"))],
    ):
        closer()
        closer()
        assert view(browser)[2] == pytest.approx(whole[2] / 1.5**2)
        point(browser)
        assert browser.execute_script("return vae.map.pointAt()") == pytest.approx(at, abs=1e-3)
        further()
        assert view(browser)[2] == pytest.approx(whole[2] / 1.5)
        reset()
        assert view(browser) == whole
    for _ in range(20):
        canvas.send_keys("-")
    outermost = view(browser)
    places = browser.execute_script("return [[...vae.map.places.a], [...vae.map.places.b]]")
    for low, values in zip(outermost[:2], places, strict=True):  # no test image is out of reach
        assert low <= min(values) + 1e-6 and low + outermost[2] >= max(values) - 1e-6


def test_the_wheel_scrolls_the_page_unless_ctrl_is_held_or_the_map_was_clicked(browser, plane):
    canvas = open_map(browser, plane)
    whole = view(browser)
    assert not browser.execute_script(WHEEL, canvas, -100, {}) and view(browser) == whole
    for keys in ({"ctrlKey": True}, {"metaKey": True}):
        assert browser.execute_script(WHEEL, canvas, -100, keys)
        left, bottom, side = view(browser)
        assert side < whole[2]  # and the place under the pointer stays there
        assert left + side / 4 == pytest.approx(whole[0] + whole[2] / 4, abs=whole[2] / 300)
        assert bottom + side * 3 / 4 == pytest.approx(whole[1] + whole[2] * 3 / 4, abs=whole[2] / 300)
        by_id(browser, "whole").click()
    click(browser, canvas, 0.1, 0.1)
    assert browser.execute_script(WHEEL, canvas, -100, {}) and view(browser)[2] < whole[2]
    ActionChains(browser).move_to_element(by_id(browser, "digit")).perform()
    before = view(browser)
    assert not browser.execute_script(WHEEL, canvas, -100, {}) and view(browser) == before


def test_dragging_pans_a_map_that_is_zoomed_and_leaves_the_point(browser, plane):
    canvas = open_map(browser, plane)
    side = canvas.size["width"]
    hover(browser, canvas, 0, 0)
    canvas.send_keys("+", "+", "+")
    z, before = point(browser), view(browser)
    ActionChains(browser).click_and_hold().move_by_offset(round(0.2 * side), round(0.1 * side)).release().perform()
    after = view(browser)
    assert after[2] == before[2]
    assert after[0] == pytest.approx(before[0] - 0.2 * before[2], abs=before[2] / 100)
    assert after[1] == pytest.approx(before[1] + 0.1 * before[2], abs=before[2] / 100)
    assert (point(browser) == z).all() and not is_pinned(browser)


def test_a_tap_and_a_slide_sideways_move_the_point(browser, plane):
    canvas = open_map(browser, plane)
    square = view(browser)
    tap(browser, canvas, (0.7, 0.3))
    np.testing.assert_allclose(point(browser), expected_place(square, 0.2, -0.2), atol=square[2] / 100)
    assert is_pinned(browser)
    touch(browser, canvas, "touchStart", (0.3, 0.5))
    for x in (0.35, 0.4, 0.5):
        touch(browser, canvas, "touchMove", (x, 0.5))
    touch(browser, canvas, "touchEnd")
    np.testing.assert_allclose(point(browser), expected_place(square, 0, 0), atol=square[2] / 100)
    assert not is_pinned(browser) and view(browser) == square


def test_a_second_tap_at_the_point_lets_go_and_two_quick_ones_zoom(browser, plane):
    canvas = open_map(browser, plane)
    whole = view(browser)
    tap(browser, canvas, (0.7, 0.3))
    browser.execute_async_script("setTimeout(arguments[0], 400)")
    tap(browser, canvas, (0.7, 0.3))
    assert not is_pinned(browser) and view(browser) == whole
    browser.execute_async_script("setTimeout(arguments[0], 400)")
    browser.execute_script(
        "for (const type of ['pointerdown', 'pointerup', 'pointerdown', 'pointerup']) {"
        "  const event = { pointerId: 1, pointerType: 'touch', clientX: 400, clientY: 400 };"
        "  arguments[0].setPointerCapture = () => {};"
        "  arguments[0].dispatchEvent(new PointerEvent(type, event));"
        "}",
        canvas,
    )
    assert view(browser)[2] == pytest.approx(whole[2] / 2)


def test_a_swipe_up_over_the_map_scrolls_the_page_and_leaves_the_point(browser, plane):
    canvas = open_map(browser, plane)
    z, top = point(browser), browser.execute_script("return scrollY")
    box = browser.execute_script(BOX, canvas)
    for step in range(20):
        touch(browser, canvas, "touchMove" if step else "touchStart", (0.5 + 0.002 * step, 0.7 - 0.02 * step), box=box)
    touch(browser, canvas, "touchEnd")
    assert browser.execute_script("return scrollY") > top + 100
    assert (point(browser) == z).all() and not is_pinned(browser)


def test_two_fingers_zoom_the_map_and_not_the_page(browser, plane):
    canvas = open_map(browser, plane)
    whole, z = view(browser), point(browser)
    touch(browser, canvas, "touchStart", (0.45, 0.5), (0.55, 0.5))
    for spread in (0.1, 0.15, 0.2):
        touch(browser, canvas, "touchMove", (0.5 - spread / 2, 0.5), (0.5 + spread / 2, 0.5))
    point(browser)
    left, _, side = view(browser)
    assert side == pytest.approx(whole[2] / 2, rel=0.02)
    assert left + side / 2 == pytest.approx(whole[0] + whole[2] / 2, abs=whole[2] / 100)
    touch(browser, canvas, "touchMove", (0.5, 0.5), (0.7, 0.5))  # both to the right, as far apart as before
    point(browser)
    assert view(browser)[0] == pytest.approx(left - 0.1 * side, abs=side / 50)
    touch(browser, canvas, "touchEnd")
    assert browser.execute_script("return visualViewport.scale") == 1
    assert (point(browser) == z).all() and not is_pinned(browser)


def test_a_place_can_be_linked_to(browser, plane, many, given):
    open_report_at(browser, plane, "#z=1.2,-0.4")
    np.testing.assert_allclose(point(browser), [1.2, -0.4], atol=1e-6)
    assert is_pinned(browser)
    assert browser.execute_script("return document.getElementById('explore').getBoundingClientRect().top") < 100
    browser.execute_script("location.hash = '#z=0.5,0.25'")
    np.testing.assert_allclose(point(browser), [0.5, 0.25], atol=1e-6)
    z = np.linspace(-1, 1, 16).round(3)
    open_report_at(browser, many, "#z=" + ",".join(map(str, z)))
    np.testing.assert_allclose(point(browser), z, atol=1e-6)
    open_report_at(browser, given, "#z=0.5%2C-0.5%2C1&y=7")  # as a messenger may write it
    np.testing.assert_allclose(point(browser), [0.5, -0.5, 1], atol=1e-6)
    assert by_id(browser, "class-7").is_selected()


@pytest.mark.parametrize(
    "fragment", ["#z=1", "#z=1,2,3", "#z=1,nan", "#z=1,Infinity", "#z=,", "#z=", "#z=1,<b>", "#results", "#y=3"]
)
def test_a_link_to_no_place_changes_nothing(browser, plane, fragment):
    if not browser.current_url.startswith((plane / "report.html").as_uri()):
        open_report(browser, plane)
    browser.execute_script("vae.show([0.5, 0.5]); vae.map.hold(false); location.hash = arguments[0]", fragment)
    assert point(browser).tolist() == [0.5, 0.5] and not is_pinned(browser)


def test_a_link_shows_its_place_on_the_map_wherever_page_and_map_stand(browser, plane):
    inside = """
    const box = document.getElementById("map").getBoundingClientRect(), { x, y } = vae.map.pointAt();
    return x >= 0 && y >= 0 && x <= box.width && y <= box.height && box.top + y >= 0 && box.top + y <= innerHeight;
    """
    open_report_at(browser, plane, "#z=1.2,-0.4")
    point(browser)
    assert browser.execute_script(inside)
    canvas = open_map(browser, plane)
    canvas.send_keys(*["+"] * 6)
    browser.execute_script("location.hash = '#z=-1,-1'")
    point(browser)
    assert browser.execute_script(inside) and view(browser)[2] < browser.execute_script("return data.explorer.map.side")
    browser.execute_script("location.hash = '#z=1e9,1e9'")
    point(browser)
    assert browser.execute_script(inside)


def test_a_link_s_place_is_clamped_to_what_the_map_can_show_and_its_class_must_be_one(browser, plane, given):
    open_report_at(browser, plane, "#z=1e30,-1e30")
    left, bottom, side = browser.execute_script(
        "const { left, bottom, side } = vae.map.view.outer; return [left, bottom, side]"
    )
    np.testing.assert_allclose(point(browser), [left + side, bottom], rtol=1e-6)
    open_report(browser, given)
    before = point(browser)
    for y in ("10", "-1", "1.5", "x", ""):
        browser.execute_script(f"location.hash = '#z=1,1,1&y={y}'")
        assert (point(browser) == before).all()


def test_the_address_names_the_point_once_it_is_pinned_or_rests_and_no_sooner(browser, plane, given):
    canvas = open_map(browser, plane)
    browser.execute_script(f"{REST}; {COUNT_WRITES}")
    entries = browser.execute_script("return history.length")
    assert browser.execute_script("return location.hash") == ""  # the place that the page begins with
    for x in np.linspace(-0.2, 0.2, 9):
        browser.execute_script("vae.show([arguments[0], 0.3])", float(x))
    browser.execute_script(REST)
    assert browser.execute_script("return [location.hash, writes]") == ["#z=0.2,0.3", 1]
    click(browser, canvas, 0.2, 0.1)
    z = point(browser)
    fragment = browser.execute_script("return location.hash")
    np.testing.assert_allclose([float(value) for value in fragment[3:].split(",")], z, atol=6e-4)
    assert browser.execute_script("return history.length") == entries
    browser.find_element(By.LINK_TEXT, "Results").click()
    assert browser.execute_script("return location.hash") == "#results"
    open_report(browser, given)
    browser.execute_script(f"{REST}; vae.show([1, 2, 3], 4)")
    point(browser)
    browser.execute_script(REST)
    assert browser.execute_script("return location.hash") == "#z=1,2,3&y=4"


def test_an_ellipse_has_the_shape_of_its_gaussian_on_the_map(browser, plane, many):
    for run_dir in (plane, many):
        open_report(browser, run_dir)
        axes = np.array(browser.execute_script("return data.explorer.map.axes"))
        sigma = np.random.default_rng(0).uniform(0.1, 1, axes.shape[1])
        spread = browser.execute_script("return vae.map.places.spread(arguments[0])", sigma.tolist())
        turn = np.array(
            [[np.cos(spread["angle"]), -np.sin(spread["angle"])], [np.sin(spread["angle"]), np.cos(spread["angle"])]]
        )
        covariance = turn @ np.diag(np.square(spread["halves"])) @ turn.T
        np.testing.assert_allclose(covariance, axes @ np.diag(sigma**2) @ axes.T, atol=1e-9)
        before = browser.execute_script("return document.getElementById('map').toDataURL()")
        gaussian = {"mu": [0.5] * len(sigma), "sigma": sigma.tolist()}
        browser.execute_script("vae.map.setEllipse(arguments[0])", gaussian)
        point(browser)
        assert browser.execute_script("return document.getElementById('map').toDataURL()") != before
        browser.execute_script("vae.map.setEllipse(null)")
        point(browser)
        assert browser.execute_script("return document.getElementById('map').toDataURL()") == before


def test_the_first_points_can_be_put_where_they_were_at_an_epoch(browser, plane):
    open_report(browser, plane)
    own = "return [vae.map.places.count, vae.map.places.a[3], vae.map.places.b[3]]"
    before = browser.execute_script(own)
    browser.execute_script("vae.map.setPlaces(Float32Array.from({length: 20}, (_, i) => i / 10), 3)")
    assert browser.execute_script(own) == pytest.approx([10, 0.6, 0.7])
    browser.execute_script("vae.map.setPlaces(null)")
    assert browser.execute_script(own) == before


def test_moving_the_point_draws_the_cloud_once(browser, plane):
    canvas = open_map(browser, plane)
    browser.execute_script(COUNT_CLOUDS)
    for x in (0.1, 0.15, 0.2):
        hover(browser, canvas, x, 0.1)
        point(browser)
    assert browser.execute_script("return drawn") == 0
    canvas.send_keys("+")
    point(browser)
    assert browser.execute_script("return drawn") == 1


def rows(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".slider")


def test_sliders_move_their_latents_those_of_the_largest_kl_first(browser, many):
    open_report(browser, many)
    units = browser.execute_script("return data.explorer.units")
    results = json.loads((many / "results.json").read_text())["test"]["kl_per_dim"]
    order = sorted((unit["index"] for unit in units), key=lambda index: -results[index])
    assert len(units) > 12 and [unit["index"] for unit in units] == order
    sliders = browser.find_elements(By.CSS_SELECTOR, ".slider input")
    assert sum(slider.is_displayed() for slider in sliders) == 12
    by_id(browser, "more").click()
    assert all(slider.is_displayed() for slider in sliders)
    before, z = digit(browser), point(browser)
    sliders[0].send_keys(Keys.END)
    moved, first = point(browser), units[0]["index"]
    reach = browser.execute_script("return data.explorer.reach")
    assert moved[first] == pytest.approx(reach, abs=0.02)
    assert (np.delete(moved, first) == np.delete(z, first)).all()
    assert (digit(browser) != before).any()
    label = rows(browser)[0].find_element(By.TAG_NAME, "label")
    assert label.text.split() == [f"z{first + 1}", f"{results[first]:.2f}", "nats"]


def test_a_slider_is_reset_by_its_own_button_with_mouse_and_keys(browser, many):
    open_report(browser, many)
    index = browser.execute_script("return data.explorer.units[1].index")
    row = rows(browser)[1]
    reset = row.find_element(By.TAG_NAME, "button")
    assert reset.accessible_name == f"Set z{index + 1} to 0"
    for press in (reset.click, lambda: reset.send_keys(Keys.ENTER)):
        row.find_element(By.TAG_NAME, "input").send_keys(Keys.END)
        z = point(browser)
        assert z[index] > 1
        press()
        after = point(browser)
        assert after[index] == 0 and (np.delete(after, index) == np.delete(z, index)).all()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_zeros_of_all_sliders_lie_above_one_another(browser, many, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_report(browser, many)
        by_id(browser, "more").click()
        geometry = """
        return [...document.querySelectorAll(".slider input")].map((input) => {
          const box = input.getBoundingClientRect(), zero = (0 - input.min) / (input.max - input.min);
          const tick = input.parentElement.getBoundingClientRect();
          return [box.left, box.width, box.left + zero * box.width, tick.left + tick.width / 2];
        });
        """
        boxes = np.array(browser.execute_script(geometry))
        assert len(boxes) > 12 and np.ptp(boxes, axis=0).max() < 0.5
        np.testing.assert_allclose(boxes[:, 2], boxes[:, 3], atol=0.5)  # the tick stands at zero
        for name in (".slider label", ".slider output", ".reset", ".end"):  # and nothing lies over another
            for element in browser.find_elements(By.CSS_SELECTOR, name)[:3]:
                assert browser.execute_script(
                    "return arguments[0].scrollWidth <= arguments[0].clientWidth + 1", element
                )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_slider_s_two_ends_are_decoded_with_the_other_latents_as_they_are(browser, many):
    open_report(browser, many)
    model, index = load_model(many), browser.execute_script("return data.explorer.units[0].index")
    rows(browser)[1].find_element(By.TAG_NAME, "input").send_keys(Keys.END)
    z = point(browser)
    browser.execute_script(REST)
    ends = rows(browser)[0].find_elements(By.CLASS_NAME, "end")
    low = float(rows(browser)[0].find_element(By.TAG_NAME, "input").get_attribute("min"))
    for end, value in zip(ends, (low, -low), strict=True):
        z[index] = value
        decoded = model.decode(torch.tensor(z[None], dtype=torch.float32)).flatten().detach().numpy() * 255
        _, pixels = browser.execute_async_script(PICTURE, end)
        assert np.abs(np.array(pixels) - decoded).max() <= 1.5


def test_all_of_the_side_can_be_reached_beside_the_sliders(browser, given):
    size = {"width": 1280, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_map(browser, given)
        side = browser.find_element(By.CLASS_NAME, "side")
        inside = "const box = arguments[0].getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight"
        browser.execute_script("document.querySelector('.explorer').scrollIntoView()")
        assert browser.execute_script(inside, side)
        browser.execute_script(
            "arguments[0].lastElementChild.lastElementChild.scrollIntoView({block: 'nearest'})", side
        )
        assert browser.execute_script(inside, side.find_elements(By.CLASS_NAME, "hint")[-1])
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_on_the_map_are_pushed_into_it(browser, plane):
    open_report(browser, plane)
    boxes = [{"x": x, "y": y, "width": 90, "height": 15} for x, y in ((300, 5), (298, 6), (10, 299), (290, 150))]
    placed = browser.execute_script("apart(arguments[0], 300); return arguments[0]", boxes)
    for index, box in enumerate(placed):
        assert 45 <= box["x"] <= 255 and 7.5 <= box["y"] <= 292.5
        for other in placed[index + 1 :]:
            assert abs(box["x"] - other["x"]) >= 89 or abs(box["y"] - other["y"]) >= 14
