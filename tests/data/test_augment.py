"""Distortions of training images."""

import pytest
import torch

from vae.data.augment import KNOTS, distort, noise_size
from vae.data.datasets import load_splits


@pytest.fixture(scope="module")
def x(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data")).train.images[:40] / 255


def noise(x, *, elastic=0.0, seed=0):
    return torch.randn(noise_size(elastic), len(x), generator=torch.Generator().manual_seed(seed))


def test_distorted_images_are_other_images_and_repeat_with_the_seed(x):
    first, second = (distort(x, noise(x, seed=3), strength=1.0) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0 and first.max() <= 1 and not torch.allclose(first, x, atol=0.2)
    assert first.mean().item() == pytest.approx(x.mean().item(), rel=0.1)


def test_a_distortion_of_no_strength_changes_the_contrast_only(x):
    still = distort(x, noise(x), strength=1e-9)
    torch.testing.assert_close(still, ((x - 0.5) * 1.15 + 0.5).clamp(0, 1), atol=1e-4, rtol=0)


def test_distorting_moves_as_far_as_it_says():
    """A dot in the middle moves by SHIFT half-widths: 0.04 · 14 = 0.56 pixels, standard deviation along each axis.

    2,000 dots: the standard deviation is known to 1.6 %; six of that.
    """
    x = torch.zeros(2000, 1, 29, 29)
    x[:, :, 13:16, 13:16] = 1
    moved = distort(x, noise(x), strength=1.0).clamp(min=0)
    place = torch.arange(29.0)
    columns = (moved.sum((1, 2)) * place).sum(1) / moved.sum((1, 2, 3))
    assert columns.std().item() == pytest.approx(0.04 * 29 / 2, rel=0.12)


def columns_of_dots(x, *, size):
    """The centre of mass of what is in the left and in the right half, (B, 2)."""
    halves = torch.stack(x.flatten(1, 2).unflatten(2, (2, size // 2)).unbind(2), dim=1).sum(2)
    return (halves * torch.arange(size / 2)).sum(2) / halves.sum(2)


def test_warping_moves_each_knot_by_itself_and_as_far_as_it_says():
    """Two dots on knots move by half an image's 28th, 1.5 pixels of 84, each on its own.

    1,000 pairs: the standard deviation is known to 2.2 %, a correlation of 0 to 0.032; six of each.
    """
    size, elastic = 84, 0.5
    x = torch.zeros(1000, 1, size, size)
    knots = [round(number * (size - 1) / (KNOTS - 1)) for number in (1, 3)]  # left and right of the middle
    for column in knots:
        x[:, :, knots[0] - 1 : knots[0] + 2, column - 1 : column + 2] = 1
    moved = columns_of_dots(distort(x, noise(x, elastic=elastic), strength=0.0, elastic=elastic), size=size)
    assert moved.std(0).tolist() == pytest.approx([elastic * size / 28] * 2, rel=0.14)
    assert abs(torch.corrcoef(moved.T)[0, 1]) < 0.19


def test_warping_is_smooth():
    """A straight line bends: neighbouring rows, moved each on their own, would differ by 1.4 standard deviations."""
    x = torch.zeros(200, 1, 28, 28)
    x[:, :, :, 13:15] = 1
    moved = distort(x, noise(x, elastic=1.0), strength=0.0, elastic=1.0)[:, 0, 2:-2]
    place = (moved * torch.arange(28.0)).sum(2) / moved.sum(2)
    assert 0.5 < place.std() < 1 and place.diff(dim=1).std() < place.std() / 2
