"""Distortions of training images."""

import pytest
import torch

from vae.data.augment import NUM_AMOUNTS, distort
from vae.data.datasets import load_splits


@pytest.fixture(scope="module")
def x(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data")).train.images[:40] / 255


def noise(x, *, seed=0):
    return torch.randn(len(x), NUM_AMOUNTS, generator=torch.Generator().manual_seed(seed))


def test_distorted_images_are_other_images_and_repeat_with_the_seed(x):
    first, second = (distort(x, noise(x, seed=3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0 and first.max() <= 1 and not torch.allclose(first, x, atol=0.2)
    assert first.mean().item() == pytest.approx(x.mean().item(), rel=0.1)


def test_a_distortion_of_no_strength_changes_the_contrast_only(x):
    still = distort(x, 1e-9 * noise(x))
    torch.testing.assert_close(still, ((x - 0.5) * 1.15 + 0.5).clamp(0, 1), atol=1e-4, rtol=0)


def test_distorting_moves_as_far_as_it_says():
    """A dot in the middle moves by SHIFT half-widths: 0.04 · 14 = 0.56 pixels, standard deviation along each axis.

    2,000 dots: the standard deviation is known to 1.6 %; six of that.
    """
    x = torch.zeros(2000, 1, 29, 29)
    x[:, :, 13:16, 13:16] = 1
    moved = distort(x, noise(x)).clamp(min=0)
    place = torch.arange(29.0)
    columns = (moved.sum((1, 2)) * place).sum(1) / moved.sum((1, 2, 3))
    assert columns.std().item() == pytest.approx(0.04 * 29 / 2, rel=0.12)
