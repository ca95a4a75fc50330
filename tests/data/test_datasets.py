import gzip
import hashlib

import pytest
import torch
from sklearn.datasets import load_digits

from vae.data import larochelle
from vae.data.batches import shuffled_batches
from vae.data.datasets import load_splits
from vae.data.download import UnavailableError
from vae.data.errors import DataError
from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.system.errors import UsageError


def test_mnist_comes_as_uint8_images_with_their_labels_and_auto_is_mnist_where_it_is_available(tmp_path, write_idx):
    write_idx(tmp_path)
    splits = load_splits("mnist", tmp_path)
    assert splits.train.images.shape == (50, 1, 28, 28) and splits.train.images.dtype == torch.uint8
    assert splits.test.labels.tolist() == [i % 10 for i in range(20)]
    assert splits.image_shape == (1, 28, 28) and splits.val is None and splits.title == "MNIST"
    assert load_splits("auto", tmp_path).name == "mnist"


def test_auto_falls_back_to_the_digits_and_says_so(tmp_path):
    splits = load_splits("auto", tmp_path)
    assert splits.name == "digits" and "no network" in splits.fallback and "standing in for MNIST" in splits.title


def test_auto_never_hides_a_damaged_file(tmp_path, write_idx):
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        load_splits("auto", tmp_path)


def test_mnist_by_name_that_is_unavailable_gets_every_way_out(tmp_path):
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
    split = Split(images, torch.arange(256))
    batches = list(shuffled_batches(split, 100, torch.Generator().manual_seed(0)))
    assert [(len(x), size) for x, _, size in batches] == [(100, 100), (100, 100), (56, 56)]
    pixels, labels = (torch.cat(parts) for parts in list(zip(*batches, strict=True))[:2])
    pixels = pixels.flatten()
    torch.testing.assert_close(pixels, labels / 255)
    assert pixels.dtype == torch.float32
    assert not torch.equal(pixels, pixels.sort().values)
    torch.testing.assert_close(pixels.sort().values, torch.linspace(0, 1, 256))
    assert torch.equal(to_pixels(images).flatten(), images.flatten() / 255)


@pytest.mark.parametrize("size", [20, 64])
def test_images_are_resized_and_keep_their_brightness(tmp_path, size):
    plain, scaled = load_splits("digits", tmp_path), load_splits("digits", tmp_path, image_size=size)
    assert scaled.image_shape == (1, size, size) and scaled.test.images.dtype == torch.uint8
    assert scaled.test.images.float().mean().item() == pytest.approx(plain.test.images.float().mean().item(), rel=0.03)


def levels(images):
    return set(images.unique().tolist())


def test_threshold_cuts_at_a_half(tmp_path):
    grey, cut = load_splits("digits", tmp_path), load_splits("digits", tmp_path, binarize="threshold")
    assert torch.equal(cut.train.images == 255, grey.train.images / 255 > 0.5) and levels(cut.test.images) == {0, 255}


def test_static_is_one_draw_that_no_seed_changes(tmp_path):
    first = load_splits("digits", tmp_path, binarize="static")
    again = load_splits("digits", tmp_path, binarize="static", seed=9)
    assert torch.equal(first.train.images, again.train.images) and levels(first.train.images) == {0, 255}
    held = load_splits("digits", tmp_path, binarize="static", val_split=0.3, seed=5)
    both = torch.cat([held.train.images, held.val.images]).flatten(1)
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, first.train.images.flatten(1).numpy()))
    assert "seed 0" in first.note


def test_dynamic_keeps_grey_training_images_and_draws_the_test_set_once(tmp_path):
    grey = load_splits("digits", tmp_path, val_split=0.2)
    drawn = load_splits("digits", tmp_path, val_split=0.2, binarize="dynamic")
    again = load_splits("digits", tmp_path, val_split=0.2, binarize="dynamic", seed=0)
    assert torch.equal(drawn.train.images, grey.train.images)
    assert levels(drawn.test.images) == levels(drawn.val.images) == {0, 255}
    assert torch.equal(drawn.test.images, again.test.images)
    black, white = grey.test.images == 0, grey.test.images == 255
    assert not drawn.test.images[black].any() and (drawn.test.images[white] == 255).all()


@pytest.fixture
def amat(tmp_path, write_idx, monkeypatch):
    """Larochelle & Murray's three files at the size of the small MNIST, drawn from it."""
    monkeypatch.setattr("vae.data.datasets.COUNTS", counts := {"train": 40, "valid": 10, "test": 20})
    monkeypatch.setattr("vae.data.larochelle.COUNTS", counts)
    monkeypatch.setattr("vae.data.larochelle.DIGESTS", {})
    write_idx(tmp_path)
    mnist = load_splits("mnist", tmp_path)
    grey = {"train": mnist.train.images[:40], "valid": mnist.train.images[40:], "test": mnist.test.images}
    for part, images in grey.items():
        rows = (images.flatten(1) > 200).int().tolist()
        path = tmp_path / f"binarized_mnist_{part}.amat"
        path.write_text("\n".join(" ".join(map(str, row)) for row in rows) + "\n")
        declare_official(path)
    return tmp_path, mnist


def declare_official(path):
    """Let a file pass for the official one of its name, in a test with the fixture `amat`."""
    larochelle.DIGESTS[path.stem.rpartition("_")[2]] = hashlib.sha256(path.read_bytes()).hexdigest()


def test_larochelle_and_murray_s_files_are_used_where_they_lie(amat):
    data_dir, mnist = amat
    splits = load_splits("mnist", data_dir, binarize="static")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (40, 10, 20)
    assert "Larochelle & Murray" in splits.note
    assert torch.equal(splits.test.images == 255, mnist.test.images > 200)
    assert torch.equal(splits.test.labels, mnist.test.labels)  # same images in the same order: their labels hold


def test_files_in_another_order_come_without_labels_and_a_line_says_so(amat, caplog):
    data_dir, _ = amat
    path = data_dir / "binarized_mnist_test.amat"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    declare_official(path)
    with caplog.at_level("INFO", "vae"):
        assert load_splits("mnist", data_dir, binarize="static").class_names == ()
    assert "without labels" in caplog.text and "order" in caplog.text and "--conditional" in caplog.text


@pytest.mark.parametrize("dataset", ["mnist", "auto"])
def test_mnist_is_not_downloaded_beside_larochelle_and_murray_s_files(amat, caplog, monkeypatch, dataset):
    """Its images are not used: its files, if they are there, give the labels."""
    data_dir, _ = amat
    (data_dir / "MNIST/raw/t10k-images-idx3-ubyte").unlink()
    monkeypatch.setattr("vae.data.download._sources", lambda name: pytest.fail("a download was tried"))
    with caplog.at_level("INFO", "vae"):
        splits = load_splits(dataset, data_dir, binarize="static")
    assert (splits.name, len(splits.train), splits.class_names) == ("mnist", 40, ())
    assert "without labels" in caplog.text and str(data_dir / "MNIST/raw") in caplog.text


def transposed(text):
    return "\n".join(map(" ".join, zip(*(line.split() for line in text.splitlines()), strict=True)))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: text.translate({48: 49, 49: 48}), "it is damaged, or another binarisation of MNIST; replace it"),
        (lambda text: text.replace("1", "0", 1), "it is damaged, or another binarisation of MNIST; replace it"),
        (lambda text: "\n".join(text.splitlines()[:9]), "it has 9 lines of 784 numbers, not 10 lines of 784"),
        (lambda text: "", "it has 0 lines of 0 numbers"),
        (transposed, "it has 784 lines of 10 numbers"),
        (lambda text: "MATLAB 5.0 MAT-file, Platform: GLNXA64\0\1IM", "it is a MATLAB file; replace it by"),
        (lambda text: "\x89HDF\r\n\x1a\n", "it is a MATLAB file; replace it by"),
        (lambda text: gzip.compress(text.encode()).decode("latin1"), "it is packed; unpack it"),
    ],
)
def test_amat_files_that_are_not_the_official_ones_are_told_apart(amat, harm, message):
    data_dir, _ = amat
    path = data_dir / "binarized_mnist_valid.amat"
    path.write_bytes(harm(path.read_text()).encode("latin1"))
    with pytest.raises(DataError, match=rf"binarized_mnist_valid.amat is not .*: {message}") as caught:
        load_splits("mnist", data_dir, binarize="static")
    assert "\n" not in str(caught.value)


def test_swapped_amat_files_are_told_by_their_names(amat):
    data_dir, _ = amat
    valid, test = (data_dir / f"binarized_mnist_{part}.amat" for part in ("valid", "test"))
    content = valid.read_bytes()
    valid.write_bytes(test.read_bytes())
    test.write_bytes(content)
    with pytest.raises(DataError, match=r"binarized_mnist_valid.amat is not .* it is binarized_mnist_test.amat"):
        load_splits("mnist", data_dir, binarize="static")


def test_line_ends_of_two_bytes_do_not_make_an_amat_file_another(amat):
    data_dir, mnist = amat
    path = data_dir / "binarized_mnist_test.amat"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert torch.equal(load_splits("mnist", data_dir, binarize="static").test.images == 255, mnist.test.images > 200)


def test_a_missing_amat_file_is_named(amat):
    data_dir, _ = amat
    (data_dir / "binarized_mnist_valid.amat").unlink()
    with pytest.raises(DataError, match=r"binarized_mnist_valid.amat is missing"):
        load_splits("mnist", data_dir, binarize="static")


def test_larochelle_and_murray_s_files_are_not_split_again(amat):
    with pytest.raises(UsageError, match="--val_split"):
        load_splits("mnist", amat[0], binarize="static", val_split=0.1)
