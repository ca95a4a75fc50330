import pytest
import torch
from sklearn.datasets import load_digits

from vae.data import load_splits, shuffled_batches, to_pixels
from vae.errors import UsageError
from vae.sources import DataError, UnavailableError


def test_mnist_comes_as_uint8_images_with_their_labels(tmp_path, write_idx):
    write_idx(tmp_path)
    splits = load_splits("mnist", tmp_path)
    assert splits.train.images.shape == (50, 1, 28, 28) and splits.train.images.dtype == torch.uint8
    assert splits.test.labels.tolist() == [i % 10 for i in range(20)]
    assert splits.image_shape == (1, 28, 28) and splits.val is None and splits.title == "MNIST"


def test_auto_is_mnist_where_it_can_be_had(tmp_path, write_idx):
    write_idx(tmp_path)
    assert load_splits("auto", tmp_path).name == "mnist"


def test_auto_falls_back_to_the_digits_and_says_so(tmp_path):
    splits = load_splits("auto", tmp_path)
    assert splits.name == "digits" and "no network" in splits.fallback and "standing in for MNIST" in splits.title


def test_auto_never_hides_a_damaged_file(tmp_path, write_idx):
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        load_splits("auto", tmp_path)


def test_explicit_mnist_that_cannot_be_had_tells_every_way_out(tmp_path):
    with pytest.raises(UnavailableError) as caught:
        load_splits("mnist", tmp_path)
    for way in (str(tmp_path / "MNIST" / "raw"), "run again", "--dataset digits"):
        assert way in str(caught.value)


def test_digits_are_scikit_learn_s_split_in_a_fixed_stratified_way(tmp_path):
    splits = load_splits("digits", tmp_path)
    assert (len(splits.train), len(splits.test)) == (1437, 360)
    assert torch.bincount(splits.test.labels).min() >= 34  # stratified: 10 classes of nearly equal size
    again = load_splits("digits", tmp_path)
    assert torch.equal(splits.test.images, again.test.images)
    means = torch.cat([splits.train.images, splits.test.images]).float().mean() / 255
    assert means.item() == pytest.approx(load_digits().images.mean() / 16, abs=0.01)


def test_held_out_images_are_seeded_and_disjoint(tmp_path):
    whole = load_splits("digits", tmp_path).train
    split = load_splits("digits", tmp_path, val_split=0.25, seed=3)
    assert len(split.val) == round(1437 * 0.25) and len(split.val) + len(split.train) == 1437
    both = torch.cat([split.train.images, split.val.images]).flatten(1)
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, whole.images.flatten(1).numpy()))
    assert torch.equal(split.val.images, load_splits("digits", tmp_path, val_split=0.25, seed=3).val.images)
    assert not torch.equal(split.val.images, load_splits("digits", tmp_path, val_split=0.25, seed=4).val.images)


@pytest.mark.parametrize("fraction", [1e-6, 1 - 1e-6])
def test_a_split_that_leaves_nothing_is_refused(tmp_path, fraction):
    with pytest.raises(UsageError, match="--val_split"):
        load_splits("digits", tmp_path, val_split=fraction)


def test_batches_are_a_permutation_of_all_images_as_pixels():
    images = torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1)
    batches = list(shuffled_batches(images, 100, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [100, 100, 56]
    pixels = torch.cat(batches).flatten()
    assert pixels.dtype == torch.float32
    assert not torch.equal(pixels, pixels.sort().values)
    torch.testing.assert_close(pixels.sort().values, torch.linspace(0, 1, 256))
    assert torch.equal(to_pixels(images).flatten(), images.flatten() / 255)
