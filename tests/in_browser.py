"""Reports in real Chromium: whether there is one, and what tests read of a page."""

import shutil

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed")
NEXT_FRAME = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
DIGIT = "return Array.from(digit.getContext('2d').getImageData(0, 0, digit.width, digit.height).data)"

# The page's clock stands still between frames, and goes on by so many milliseconds with each.
STEPPED_CLOCK = """
const realFrame = window.requestAnimationFrame, milliseconds = arguments[0];
let clock = performance.now();
performance.now = () => clock;
window.requestAnimationFrame = (callback) => realFrame(() => callback(clock += milliseconds));
"""


def open_report(browser, run_dir, name="report.html"):
    browser.get_log("browser")  # what an earlier page left there
    browser.get((run_dir / name).as_uri())
    browser.execute_async_script(NEXT_FRAME)
    assert browser.get_log("browser") == []


def digit(browser):
    """The decoded image on the page, as grey levels."""
    browser.execute_async_script(NEXT_FRAME)
    pixels = browser.execute_script("const digit = document.getElementById('digit');" + DIGIT)
    return np.array(pixels).reshape(-1, 4)[:, 0]


def point(browser):
    browser.execute_async_script(NEXT_FRAME)
    return np.array(browser.execute_script("return Array.from(vae.point.z)"))


def by_id(browser, name):
    return browser.find_element("id", name)
