"""The report in real Chromium: what it computes, how it reacts to mouse, touch and keys, what it refuses to run."""

import json
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from in_browser import NEXT_FRAME, STEPPED_CLOCK, by_id, digit, needs_browser, open_report, point
from PIL import Image
from recorded_runs import record_run
from small_runs import run_main

from main import main
from vae import VAE, load_model
from vae.data.datasets import load_splits
from vae.report import explorer
from vae.runs.report import write

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [pytest.mark.slow, needs_browser]

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

DECODE = """
const decode = arguments[2] ? makeDecoder(arguments[2]) : vae.decode;
return arguments[0].map((z) => Array.from(decode(new Float32Array(z), arguments[1])));
"""
PLACES = """
const done = arguments[0], places = [];
const frame = () => {
  places.push(document.getElementById("morph").valueAsNumber);
  if (places.length < 40) requestAnimationFrame(frame);
  else done(places);
};
document.getElementById("play").click();
frame();
"""
AXE = (Path(find_spec("axe_playwright_python").origin).parent / "axe.min.js").read_text("utf-8")
SET_MORPH = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"


def assert_page_decodes_as_torch(browser, model, *, classes=1, contents=None):
    """At 100 random latents of each of up to three classes, every pixel within 1/255.

    The page's own decoder, or the one that it makes from `contents`, what `explorer.describe` returned.
    """
    z = torch.randn(100, model.latent_dim, generator=torch.Generator().manual_seed(7)) * 1.3
    for y in range(min(classes, 3)):
        page = np.array(browser.execute_script(DECODE, z.tolist(), y, contents))
        own = model.decode(z, torch.full((100,), y)).flatten(1).detach().numpy()
        assert np.abs(page - own).max() <= 1 / 255
        assert own.std(0).max() > 0.01  # a decoder that does nothing would prove nothing


def test_the_page_loads_without_an_error_and_decodes_what_torch_decodes(browser, plane, many, given):
    for run_dir, classes in ((plane, 1), (many, 1), (given, 10)):
        open_report(browser, run_dir)
        assert_page_decodes_as_torch(browser, load_model(run_dir), classes=classes)
        assert by_id(browser, "timing").text.startswith("decoded here in ")


@pytest.mark.parametrize(
    "options",
    [
        *({"activation": name} for name in ("relu", "elu", "silu", "gelu", "tanh")),
        {"activation": "leaky_relu", "negative_slope": 0.3},
        {"block": "gated"},
        {"block": "residual", "activation": "silu"},
        {"block": "residual", "hidden_dims": (16, 16), "image_shape": (3, 28, 28), "prior": "flow"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_kind_of_layer_computes_what_torch_s_does(browser, plane, options):
    if not browser.execute_script("return typeof makeDecoder === 'function'"):
        open_report(browser, plane)
    model = VAE(4, **{"hidden_dims": (24, 16), **options}).eval()
    for weight in model.decoder.parameters():
        torch.nn.init.normal_(weight, std=0.4)  # so that no unit stays where its activation is straight
    splits = load_splits("digits", Path())
    contents = explorer.describe(model, splits, torch.randn(len(splits.test), 4), kl_per_dim=[1.0] * 4)
    assert_page_decodes_as_torch(browser, model, contents=contents)


def test_test_images_start_a_point_and_a_morph_between_the_last_two(browser, many):
    open_report(browser, many)
    thumbs = browser.find_elements(By.CSS_SELECTOR, "#starts .thumb")
    splits, model = load_splits("digits", Path()), load_model(many)
    ends = []
    for label in (3, 7):
        thumbs[label].click()
        image = splits.test.images[splits.test.labels == label][:1]
        ends.append(model.encode(image.float() / 255)[0][0].detach().numpy())
        np.testing.assert_allclose(point(browser), ends[-1], atol=2e-3)
    browser.execute_script(SET_MORPH, by_id(browser, "morph"), 0.25)
    np.testing.assert_allclose(point(browser), 0.75 * ends[0] + 0.25 * ends[1], atol=2e-3)
    by_id(browser, "play").click()
    first = point(browser)
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    assert (point(browser) != first).any()
    by_id(browser, "play").click()
    still = point(browser)
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert (point(browser) == still).all()


def test_random_draws_from_the_prior(browser, many):
    open_report(browser, many)
    click = "document.getElementById('random').click(); return Array.from(vae.point.z)"
    draws = np.array([browser.execute_script(click) for _ in range(40)])
    assert len(np.unique(draws[:, 0])) == 40
    # 640 standard normal numbers: each bound is more than five standard errors away
    assert abs(draws.mean()) < 0.2 and abs(draws.std() - 1) < 0.15
    by_id(browser, "origin").click()
    assert (point(browser) == 0).all()


def test_a_class_is_chosen_for_a_conditional_model(browser, given):
    open_report(browser, given)
    model = load_model(given)
    browser.execute_script("vae.show([0.5, -0.5, 1])")
    for label in (2, 9):
        browser.find_element(By.CSS_SELECTOR, f"label[for=class-{label}]").click()
        decoded = model.decode(torch.tensor([[0.5, -0.5, 1.0]]), torch.tensor([label])).flatten().detach() * 255
        assert np.abs(digit(browser) - decoded.numpy()).max() <= 1.5


def test_a_conditional_morph_goes_from_class_to_class(browser, given):
    open_report(browser, given)
    model, starts = load_model(given), browser.find_elements(By.CSS_SELECTOR, "#starts .thumb")
    starts[3].click()
    starts[7].click()
    assert "each half of it is decoded as the class of its end" in by_id(browser, "explore").text
    for button, label in (("from", 3), ("to", 7)):
        by_id(browser, button).click()
        z = torch.tensor(point(browser)[None], dtype=torch.float32)
        decoded = model.decode(z, torch.tensor([label])).flatten().detach() * 255
        assert np.abs(digit(browser) - decoded.numpy()).max() <= 1.5
        assert by_id(browser, f"class-{label}").is_selected()
    for t, label in ((0.4, 3), (0.6, 7)):
        browser.execute_script(SET_MORPH, by_id(browser, "morph"), t)
        digit(browser)
        assert by_id(browser, f"class-{label}").is_selected()


def test_a_decoder_too_slow_for_the_page_shows_the_nearest_image_of_those_decoded_beforehand(browser, plane, tmp_path):
    model = VAE(2, arch="conv", base_channels=4).eval()
    for weight in model.decoder.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    shutil.copytree(plane, tmp_path / "run")
    splits = load_splits("digits", Path())
    write(tmp_path / "run", model, splits, torch.randn(len(splits.test), 2), epoch=4)
    open_report(browser, tmp_path / "run")
    assert "not the decoder itself: the decoder is convolutional" in by_id(browser, "explore").text
    square = browser.execute_script("return data.explorer.map")
    cell = square["side"] / 32
    z = [square["left"] + 20.5 * cell, square["bottom"] + 7.5 * cell]
    browser.execute_script("vae.show(arguments[0])", [z[0] + 0.3 * cell, z[1] - 0.3 * cell])
    decoded = model.decode(torch.tensor([z])).flatten().detach().numpy() * 255
    assert np.abs(digit(browser) - decoded).max() <= 1


def test_the_curves_are_read_with_pointer_and_keys(browser, plane):
    open_report(browser, plane)
    rows = [json.loads(line) for line in (plane / "metrics.jsonl").read_text().splitlines()]
    curves, epoch = by_id(browser, "curves"), by_id(browser, "epoch")
    assert epoch.text == "epoch 4"
    curves.send_keys(Keys.ARROW_LEFT)
    assert epoch.text == "epoch 3" and curves.get_attribute("aria-valuenow") == "3"
    assert f"train {rows[2]['train/loss']:.2f}" in curves.text.replace("\n", " ")
    picture = curves.find_element(By.TAG_NAME, "svg")
    ActionChains(browser).move_to_element_with_offset(picture, -picture.size["width"] // 2 + 50, 0).perform()
    assert epoch.text == "epoch 1" and f"test {rows[0]['test/kl']:.2f}" in curves.text.replace("\n", " ")


def test_pictures_open_large_and_close_again(browser, plane):
    open_report(browser, plane)
    viewer = by_id(browser, "viewer")
    for close in (lambda: viewer.click(), lambda: ActionChains(browser).send_keys(Keys.ESCAPE).perform()):
        browser.find_element(By.CLASS_NAME, "picture").click()
        assert viewer.is_displayed() and browser.execute_script("return viewer.firstElementChild.naturalWidth") > 300
        close()
        assert not viewer.is_displayed()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(browser, plane, many, given, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for run_dir in (plane, many, given):
            open_report(browser, run_dir)
            assert browser.execute_script("return document.documentElement.scrollWidth") == width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """Folder of a comparison of two seeds, a longer run with a hostile name, and one of binary pixels."""
    root = tmp_path_factory.mktemp("compared")
    for number, (name, knobs) in enumerate(
        [("g/seed-0", {"seed": 0}), ("g/seed-1", {"seed": 1}), ("<img src=x onerror=1>", {"latent_dim": 3})]
    ):
        record_run(root / "outputs" / name.replace("<", "&lt;").replace(">", ""), (160.0, 150.0 + number), **knobs)
    losses = [90.0 - epoch for epoch in range(40)]
    record_run(root / "outputs" / "binary", losses, protocol="dynamically binarised", binarize="dynamic")
    record_run(root / "outputs" / "long", [*range(190, 150, -1)], latent_dim=4)
    flags = ["--output_dir", str(root / "outputs"), "--output", str(root / "out")]
    assert main(["compare", "--all", *flags, "--quiet"]) == 0
    return root / "out"


def test_the_curves_of_a_comparison_are_read_with_keys_where_a_run_has_an_epoch(browser, compared):
    open_report(browser, compared, "comparison.html")
    charts = browser.find_elements(By.CLASS_NAME, "curves")
    outputs = [output.text for output in browser.find_elements(By.CSS_SELECTOR, ".lead output")]
    assert len(charts) == 2 and outputs == ["epoch 40", "epoch 40"]
    grey = next(chart for chart in charts if "151.00" in chart.text)
    first_panel = grey.find_element(By.CLASS_NAME, "readings")
    assert sorted(first_panel.text.split()) == sorted(["151.00", "–", "–"])  # the shorter runs have no epoch 40
    grey.send_keys(Keys.HOME)
    assert sorted(first_panel.text.split()) == sorted(["190.00", "160.00", "160.00"])
    grey.send_keys(Keys.ARROW_RIGHT)
    assert sorted(first_panel.text.split()) == sorted(["189.00", "150.50", "152.00"])
    assert len(grey.find_elements(By.CSS_SELECTOR, "path.band")) == 3  # of the two seeds, for each test term


@pytest.mark.parametrize("width", [360, 1280])
def test_a_comparison_is_no_wider_than_the_window(browser, compared, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_report(browser, compared, "comparison.html")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_core_finds_nothing_to_mend(browser, plane, many, given, compared, scheme, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        pages = [(folder, "report.html") for folder in (plane, many, given)] + [(compared, "comparison.html")]
        for folder, name in pages:
            open_report(browser, folder, name)
            browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
            browser.execute_script(AXE)
            violations = browser.execute_async_script("axe.run().then(({ violations }) => arguments[0](violations))")
            assert not violations, [(rule["id"], node["target"]) for rule in violations for node in rule["nodes"]]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_term_is_explained_where_it_is_pressed_until_escape(browser, plane):
    open_report(browser, plane)
    for term in browser.find_elements(By.CLASS_NAME, "term"):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", term)
        card = by_id(browser, term.get_attribute("popovertarget"))
        assert not card.is_displayed()
        term.send_keys(Keys.ENTER)
        browser.execute_async_script(NEXT_FRAME)
        assert card.is_displayed() and len(card.text) > 50
        at, there = term.rect, card.rect
        gap = max(there["y"] - at["y"] - at["height"], at["y"] - there["y"] - there["height"])
        assert 0 <= gap <= 12 and there["x"] >= 0 and there["x"] + there["width"] <= 1280
        ActionChains(browser).send_keys(Keys.ESCAPE).perform()
        assert not card.is_displayed()


def test_every_control_has_a_name(browser, plane, many, given):
    for run_dir in (plane, many, given):
        open_report(browser, run_dir)
        for control in browser.find_elements(By.CSS_SELECTOR, "button, input, canvas[tabindex], [role=slider]"):
            if control.is_displayed():
                assert control.accessible_name, control.get_attribute("outerHTML")[:200]


def test_hostile_names_execute_nothing(browser, tmp_path):
    rng = np.random.default_rng(0)
    hostile = "<img src=x onerror=document.title='owned'>"
    for name in (hostile, "<svg onload=document.title='owned'>", "'\"&amp;{{data}}"):
        folder = tmp_path / "<script>document.title='owned'<" / name
        folder.mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{i}.png")
    flags = ["--dataset", "folder", "--data_dir", str(folder.parent), "--image_size", "8", "--num_epochs", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run_main(tmp_path, *flags, "--run_name", "it's & {{data}}", "--conditional") == 0
    run_dir = tmp_path / "outputs" / "it's & {{data}}"
    open_report(browser, run_dir)
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.title == "mlp-32-2d-conditional on <script>document.title='owned'<"
    assert hostile in by_id(browser, "legend").text
    # and were one to get through, the page's policy stops it
    page = run_dir / "report.html"
    page.write_text(page.read_text().replace("<main>", f"<main>{hostile}<script>document.title = 'owned'</script>"))
    browser.get(page.as_uri())
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert "owned" not in browser.title.removesuffix("document.title='owned'<")
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_where_less_motion_is_preferred_a_morph_plays_once_and_in_steps(browser, many):
    media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        open_report(browser, many)
        browser.execute_script(STEPPED_CLOCK, 100)
        places = browser.execute_async_script(PLACES)  # 4 s of the page at least
        assert by_id(browser, "play").get_attribute("aria-pressed") == "false"  # once, not over and over
        assert places[-1] == 1 and 2 < len(set(places)) <= 10
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
