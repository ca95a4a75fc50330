import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vae.data.datasets import load_splits
from vae.data.splits import Split
from vae.report import sprites


def pictures(sheet):
    """What a page cuts out of a sheet: (n, side, side, 3)."""
    content = base64.b64decode(sheet["source"].removeprefix("data:image/webp;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    side, columns = sheet["side"], sheet["columns"]
    places = [divmod(n, columns) for n in range(sheet["count"])]
    return np.stack(
        [pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] for row, column in places]
    )


def unlabelled(images):
    return Split(images, torch.zeros(len(images), dtype=torch.int64))


def test_a_sheet_holds_the_test_images_in_eight_levels_of_grey():
    test = load_splits("digits", Path()).test
    images, sheet = test.images[:103], sprites.sheet(test, 103)
    assert (sheet["count"], sheet["side"]) == (103, images.shape[-1])
    levels = np.round(np.round(images[:, 0].numpy() / 255 * 7) * 255 / 7)
    np.testing.assert_array_equal(pictures(sheet), levels[..., None].repeat(3, axis=-1))


def test_colour_images_keep_their_colours():
    images = torch.zeros(9, 3, 40, 40, dtype=torch.uint8)
    for n in range(9):
        images[n, n % 3] = 200
    sheet = sprites.sheet(unlabelled(images), 10)
    assert sheet["side"] == 28
    means = pictures(sheet).mean((1, 2))
    assert (means.argmax(1) == np.arange(9) % 3).all() and (means.max(1) - np.median(means, axis=1) > 150).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_scaled_down_and_then_left_out_until_the_rest_fit(channels):
    noise = torch.randint(256, (400, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = sprites.sheet(unlabelled(noise), 500)
    assert (whole["count"], whole["side"]) == (400, 28)
    for part in (0.8, 0.05):
        limit = int(part * 0.75 * len(whole["source"]))
        sheet = sprites.sheet(unlabelled(noise), 500, max_bytes=limit)
        assert 0.75 * len(sheet["source"]) <= limit + 30
        assert sheet["side"] < 28 and (sheet["count"] == 400) == (part == 0.8)
        assert len(pictures(sheet)) == sheet["count"]
    assert sheet["side"] == 16 and 10 < sheet["count"] < 300
