"""Drawing on the report in real Chromium: what hands and keys do, and that the page computes what PyTorch does."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from in_browser import NEXT_FRAME, by_id, needs_browser, open_report, point
from PIL import Image
from small_runs import run_main

from vae import VAE, load_model
from vae.data.datasets import load_splits
from vae.data.ink import find_ink, place
from vae.evaluation.elbo import score_images
from vae.report import explorer
from vae.report.drawing import SAMPLES

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [pytest.mark.slow, needs_browser]

SEVEN = [[(0.3, 0.2), (0.7, 0.22), (0.55, 0.5), (0.45, 0.8)], [(0.4, 0.5), (0.65, 0.5)]]  # parts of the canvas
DOT = [[(0.4, 0.6)]]
SMALL = [[(0.1 + 0.3 * x, 0.15 + 0.3 * y) for x, y in stroke] for stroke in SEVEN]
INFER = """
const [model, images, y] = arguments;
const { encode, score } = makeInference(model, makeDecoder(model).logits);
return images.map((image) => {
  const x = Float32Array.from(image), { mu, logvar } = encode(x, y), { recon, kl } = score(x, y, { mu, logvar });
  return { mu: Array.from(mu), logvar: Array.from(logvar), loss: recon + kl };
});
"""
PLACE = """
const [strokes, side, box, mass, pen] = arguments;
const points = strokes.map((stroke) => stroke.map(([x, y]) => ({ x: x * side, y: y * side, width: pen })));
const ink = fittedInk(points, box, pen);
const page = place(ink, { side, box, mass });
return { values: Array.from(ink.values), width: ink.width, page: Array.from(page) };
"""
SCORED = """
const done = arguments[0];
const wait = () => {
  const drawn = vae.drawing.result;
  if (!drawn || !((data.explorer.conditional ? "likeliest" : "recon") in drawn)) return setTimeout(wait, 20);
  const lists = Object.entries(drawn).map(([key, value]) => [key, value.length ? Array.from(value) : value]);
  return done(Object.fromEntries(lists));
};
wait();
"""


def draw(browser, strokes, kind="mouse"):
    """Draw on the canvas with a mouse or a finger."""
    paper = by_id(browser, "paper")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", paper)
    left, top, side = browser.execute_script(
        "const box = arguments[0].getBoundingClientRect(); return [box.left, box.top, box.width]", paper
    )
    for stroke in strokes:
        at = [{"x": left + x * side, "y": top + y * side} for x, y in stroke]
        if kind == "mouse":
            for event, place in [("Pressed", at[0]), *(("Moved", place) for place in at[1:]), ("Released", at[-1])]:
                mouse = {"type": f"mouse{event}", "button": "left", "buttons": 1, "clickCount": 1, **place}
                browser.execute_cdp_cmd("Input.dispatchMouseEvent", mouse)
        else:
            for event, places in [("Start", at[:1]), *(("Move", [place]) for place in at[1:]), ("End", [])]:
                browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": f"touch{event}", "touchPoints": places})
    browser.execute_async_script(NEXT_FRAME)


def result(browser):
    """What the page made of the drawing, once it is scored."""
    browser.execute_async_script(NEXT_FRAME)
    return browser.execute_async_script(SCORED)


def image_in(drawn):
    side = round(len(drawn["image"]) ** 0.5)
    return torch.tensor(drawn["image"], dtype=torch.float32).reshape(1, 1, side, side) / 255


def assert_page_infers_as_torch(browser, model, contents, *, y=None):
    """Latents within 1e-3, and minus the ELBO within 0.01 nats, or 5e-5 of a large one, for ten test images."""
    x = load_splits("digits", Path()).test.images[:10] / 255
    label = None if y is None else torch.full((10,), y)
    pages = browser.execute_script(INFER, contents, x.flatten(1).tolist(), y or 0)
    for name, own in zip(("mu", "logvar"), model.encode(x, label), strict=True):
        np.testing.assert_allclose([page[name] for page in pages], own.detach().numpy(), atol=1e-3)
        assert own.std() > 0.05  # an encoder that does nothing would prove nothing
    for index, page in enumerate(pages):
        one = slice(index, index + 1)
        terms = score_images(model, x[one], None if label is None else label[one], samples=SAMPLES)
        assert page["loss"] == pytest.approx(-terms.elbo.item(), abs=0.01, rel=5e-5)


def lively(model):
    """The model with weights that bend every unit and move every coupling."""
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=1 / weight.shape[1] ** 0.5)
        elif weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=0.3, std=0.3)
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [
        *({"activation": name} for name in ("relu", "elu", "silu", "gelu", "tanh")),
        {"activation": "leaky_relu", "negative_slope": 0.3},
        {"block": "gated", "prior": "vamp", "num_pseudo_inputs": 7},
        {"block": "residual", "activation": "silu", "prior": "flow", "num_couplings": 3, "prior_width": 8},
        {"latent_dim": 5, "prior": "flow", "num_couplings": 4, "prior_width": 8, "num_classes": 10},
        {"recon_loss": "mse"},
        {"mixture_components": 3, "patch_size": 2},
        {"recon_loss": "continuous_bernoulli", "num_classes": 10},
        {"arch": "mixer", "patch_size": 2, "patch_width": 6, "num_classes": 10},
        {"arch": "mixer", "mixer_blocks": 2, "mixture_components": 3, "block": "residual", "activation": "silu"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_encoder_prior_and_likelihood_compute_what_torch_s_do(browser, plane, options):
    if not browser.execute_script("return typeof makeInference === 'function'"):
        open_report(browser, plane)
    model = lively(VAE(**{"latent_dim": 4, "hidden_dims": (24, 16), **options}))
    splits = load_splits("digits", Path())
    contents = explorer.describe(
        model, splits, torch.randn(len(splits.test), model.latent_dim), kl_per_dim=[1.0] * model.latent_dim
    )
    for y in (0, 7) if model.num_classes else (None,):
        assert_page_infers_as_torch(browser, model, contents, y=y)


def test_a_drawing_is_encoded_decoded_and_scored_as_torch_does(browser, plane, many):
    test = load_splits("digits", Path()).test
    for run_dir in (plane, many):
        open_report(browser, run_dir)
        model = load_model(run_dir)
        draw(browser, SEVEN)
        drawn = result(browser)
        x = image_in(drawn)
        mu, logvar = model.encode(x)
        np.testing.assert_allclose(drawn["mu"], mu[0], atol=1e-3)
        np.testing.assert_allclose(drawn["sigma"], torch.exp(0.5 * logvar[0]), rtol=1e-3)
        assert np.abs(np.array(drawn["mean"]) - model.decode(mu).flatten().numpy()).max() <= 1 / 255
        np.testing.assert_allclose(point(browser), drawn["mu"], atol=1e-6)
        recon, kl = score_images(model, x, samples=SAMPLES)
        assert (drawn["recon"], drawn["kl"]) == (pytest.approx(recon, abs=0.01), pytest.approx(kl, abs=0.01))
        assert f"−ELBO {drawn['recon'] + drawn['kl']:.1f} nats" in by_id(browser, "drawn").text
        losses = -score_images(model, test.images / 255, samples=SAMPLES).elbo
        exceeded = 100 * (losses < recon + kl).double().mean().item()
        assert drawn["share"] == pytest.approx(exceeded, abs=1)
        words = by_id(browser, "unusual").text
        assert words.endswith("the test images") or words.endswith("every test image")


def test_no_drawing_is_said_to_exceed_none_or_all_of_the_test_images_where_it_exceeds_some(browser, plane):
    if not browser.execute_script("return typeof standing === 'function'"):
        open_report(browser, plane)
    extremes = {
        0: "lower than that of every",
        0.04: "lower than that of almost every",
        0.06: "higher than that of 0.1 %",
    }
    extremes |= {99.9: "higher than that of 99.9 %", 99.96: "higher than that of almost every"}
    for share, words in {**extremes, 42: "higher than that of 42 %", 100: "higher than that of every"}.items():
        assert browser.execute_script("return standing(arguments[0])", share).startswith(words)


def test_numbers_below_zero_have_a_true_minus_sign(browser, given):
    open_report(browser, given)  # its likelihood is a density
    draw(browser, SEVEN)
    drawn = result(browser)
    assert drawn["recon"] < 0
    words = [by_id(browser, name).text for name in ("drawn", "likeliest", "curves")]
    assert f"−ELBO −{abs(drawn['recon'] + drawn['kl']):.1f} nats = −" in words[0]
    assert all("−" in text and "-" not in text for text in words)


@pytest.mark.parametrize("strokes", [SEVEN, SMALL, DOT], ids=["seven", "small", "dot"])
@pytest.mark.parametrize(("box", "mass"), [(20, True), (28, False)])
def test_a_drawing_is_placed_as_ink_on_paper_is(browser, plane, strokes, box, mass):
    if not browser.execute_script("return typeof fittedInk === 'function'"):
        open_report(browser, plane)
    placed = browser.execute_script(PLACE, strokes, 28, box, mass, 2.7)
    ink = np.array(placed["values"]).reshape(-1, placed["width"])
    own = place(ink / 255, mass=mass)[0, 0].numpy().astype(int)
    assert np.abs(np.array(placed["page"]).reshape(28, 28) - own).max() <= 2
    assert own.max() == 255


def test_a_small_drawing_looks_like_a_large_one(browser, plane):
    open_report(browser, plane)
    large, small = (np.array(browser.execute_script(PLACE, s, 28, 20, True, 2.7)["page"]) for s in (SEVEN, SMALL))
    assert np.corrcoef(large, small)[0, 1] > 0.99 and small.sum() == pytest.approx(large.sum(), rel=0.03)


def test_a_picture_of_the_canvas_is_prepared_as_the_drawing_is(browser, plane):
    open_report(browser, plane)
    draw(browser, SEVEN)
    source = browser.execute_script("return document.getElementById('paper').toDataURL()")
    ink = find_ink(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    photo = place(ink.strength, mass=False).flatten().numpy()
    assert np.corrcoef(photo, result(browser)["image"])[0, 1] > 0.9


def test_a_finger_draws_and_does_not_scroll_the_page(browser, plane):
    open_report(browser, plane)
    draw(browser, [[(0.5, y / 20) for y in range(4, 16)]], kind="touch")
    top = browser.execute_script("return scrollY")
    draw(browser, [[(0.6, y / 20) for y in range(15, 3, -1)]], kind="touch")
    assert browser.execute_script("return scrollY") == top
    image = np.array(result(browser)["image"]).reshape(28, 28)
    assert (image.max(1) > 127).all()  # a line from top to bottom, as digits fill the image


def test_a_pen_s_pressure_widens_its_stroke(browser, plane):
    open_report(browser, plane)
    send = """
    const paper = document.getElementById("paper"), box = paper.getBoundingClientRect();
    const init = { pointerId: 1, isPrimary: true, pointerType: "pen", pressure: arguments[0], bubbles: true };
    paper.setPointerCapture = () => {};
    for (const [type, share] of [["down", 0.2], ["move", 0.8], ["up", 0.8]]) {
      const at = { clientX: box.left + box.width * share, clientY: box.top + box.height * share };
      paper.dispatchEvent(new PointerEvent(`pointer${type}`, { ...init, ...at }));
    }
    """
    inks = []
    for pressure in (0.2, 0.9):
        browser.execute_script(send, pressure)
        inks.append(sum(result(browser)["image"]))
        browser.execute_script("vae.drawing.clear()")
        browser.execute_async_script(NEXT_FRAME)
    assert inks[1] > 1.3 * inks[0]


def test_undo_takes_a_stroke_back_and_clear_takes_everything(browser, plane):
    open_report(browser, plane)
    assert not by_id(browser, "undo").is_enabled() and not by_id(browser, "adopt").is_enabled()
    draw(browser, SEVEN[:1])
    before = result(browser)["image"]
    draw(browser, SEVEN[1:])
    assert result(browser)["image"] != before
    by_id(browser, "undo").click()
    assert result(browser)["image"] == before
    by_id(browser, "clear").click()
    browser.execute_async_script(NEXT_FRAME)
    assert browser.execute_script("return vae.drawing.result") is None
    assert by_id(browser, "drawn").text == "" and not by_id(browser, "clear").is_enabled()


def test_keys_put_a_test_image_on_the_canvas_as_it_is_and_strokes_go_on_top(browser, plane):
    open_report(browser, plane)
    test = load_splits("digits", Path()).test
    by_id(browser, "stamp").send_keys("\ue007")
    first = np.array(result(browser)["image"])
    zero = test.images[test.labels == 0][0].flatten().numpy()
    np.testing.assert_array_equal(first, zero)
    draw(browser, [[(0.1, 0.5), (0.9, 0.5)]])
    after = np.array(result(browser)["image"])
    assert (after >= zero).all() and (after.reshape(28, 28)[13:15, 4:24] > 127).all()
    by_id(browser, "stamp").send_keys(" ")
    one = test.images[test.labels == 1][0].flatten().numpy()
    np.testing.assert_array_equal(result(browser)["image"], one)


def test_a_drawing_becomes_the_morph_s_end(browser, plane):
    open_report(browser, plane)
    draw(browser, SEVEN)
    drawn = result(browser)
    by_id(browser, "adopt").click()
    by_id(browser, "from").click()
    assert not np.allclose(point(browser), drawn["mu"], atol=1e-3)
    by_id(browser, "to").click()
    np.testing.assert_allclose(point(browser), drawn["mu"], atol=1e-6)
    shown = "return Array.from(document.querySelector('#to canvas').getContext('2d').getImageData(0, 0, 28, 28).data)"
    np.testing.assert_array_equal(np.array(browser.execute_script(shown)).reshape(-1, 4)[:, 0], drawn["image"])


def test_the_encoder_is_given_the_class_and_the_likeliest_one_is_named(browser, given):
    open_report(browser, given)
    model = load_model(given)
    draw(browser, SEVEN)
    x = image_in(result(browser))
    losses = [-score_images(model, x, torch.tensor([y]), samples=SAMPLES).elbo.item() for y in range(10)]
    for y in (4, 8):
        browser.find_element("css selector", f"label[for=class-{y}]").click()
        drawn = result(browser)
        np.testing.assert_allclose(drawn["mu"], model.encode(x, torch.tensor([y]))[0][0], atol=1e-3)
        assert drawn["recon"] + drawn["kl"] == pytest.approx(losses[y], abs=0.01)
        assert drawn["likeliest"] == int(np.argmin(losses))
        words = f"given class {y}; lowest given class {drawn['likeliest']}: {min(losses):.1f}".replace("-", "−")
        assert by_id(browser, "likeliest").text == words


@pytest.mark.parametrize("binarize", ["threshold", "dynamic"])
def test_a_drawing_for_a_model_of_binary_pixels_is_binary(browser, tmp_path, binarize):
    flags = ["--run_name", "b", "--num_epochs", "1", "--binarize", binarize]
    assert run_main(tmp_path, *flags) == 0
    open_report(browser, tmp_path / "outputs" / "b")
    draw(browser, SEVEN)
    drawn = result(browser)
    assert set(drawn["image"]) == {0, 255}
    recon, kl = score_images(load_model(tmp_path / "outputs" / "b"), image_in(drawn), samples=SAMPLES)
    assert drawn["recon"] + drawn["kl"] == pytest.approx((recon + kl).item(), abs=0.01)
    assert "black and white" in by_id(browser, "explore").text


def test_a_drawing_s_posterior_is_marked_on_the_map_until_it_is_cleared(browser, plane):
    open_report(browser, plane)
    spy = "window.marked = []; const own = vae.map.setEllipse.bind(vae.map);"
    spy += "vae.map.setEllipse = (it) => { marked.push(it && [Array.from(it.mu), Array.from(it.sigma)]); own(it); }"
    browser.execute_script(spy)
    draw(browser, SEVEN)
    drawn = result(browser)
    assert browser.execute_script("return marked.at(-1)") == [drawn["mu"], drawn["sigma"]]
    by_id(browser, "clear").click()
    browser.execute_async_script(NEXT_FRAME)
    assert browser.execute_script("return marked.at(-1)") is None


def test_on_a_narrow_page_nothing_moves_the_canvas_from_under_the_hand(browser, plane):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_report(browser, plane)
        where, near = by_id(browser, "where"), by_id(browser, "near")
        top = by_id(browser, "paper").rect["y"]
        for text in ("", "z = (−10.00, −10.00)", "nearest test image: a class of a long name"):
            browser.execute_script(
                "for (const line of [arguments[0], arguments[1]]) line.textContent = arguments[2]", where, near, text
            )
            assert by_id(browser, "paper").rect["y"] == top
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
