import io
import os
import random
import zipfile

import numpy as np
import pytest
import torch
from mutants import mutate
from small_runs import load_state, run_main

from main import main
from vae.data import cache
from vae.data.array_files import open_arrays
from vae.data.arrays import make_splits
from vae.data.datasets import load_splits
from vae.data.errors import DataError
from vae.runs.catalog import read_run
from vae.runs.trained import open_run
from vae.system.errors import UsageError
from vae.system.memory import TooLargeError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (50, 28, 28), dtype=np.uint8)
Y = np.arange(50) % 3
KERAS = {"x_train": X[:40], "y_train": Y[:40], "x_test": X[40:], "y_test": Y[40:]}


def load(path, content, *, save=None, **options):
    """The splits of a file of these arrays: an .npz of a dict, an .npy of an array."""
    save = save or (np.savez if isinstance(content, dict) else np.save)
    save(path, **content) if isinstance(content, dict) else save(path, content)
    return load_splits("arrays", path, **options)


def everything(splits):
    """All images in the order of the file."""
    rows = torch.cat([splits.train.rows, splits.test.rows])
    return torch.cat([splits.train.images, splits.test.images])[rows.argsort()]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_keras_npz_has_its_own_test_set_and_stays_mapped(tmp_path, save):
    for _ in range(2):  # of a packed file, the second time comes from the cache
        splits = load(tmp_path / "mine.npz", KERAS, save=save)
        assert torch.equal(splits.train.images[:, 0], torch.from_numpy(X[:40])) and splits.train.is_mapped
        assert torch.equal(splits.test.images[:, 0], torch.from_numpy(X[40:])) and splits.val is None
        assert splits.train.labels.tolist() == Y[:40].tolist() and splits.class_names == ("0", "1", "2")
        assert splits.title == "mine.npz" and splits.name == "arrays"


def test_images_without_a_test_set_are_split_by_the_seed(tmp_path):
    first, again, other = (load(tmp_path / "x.npz", {"images": X, "labels": Y}, seed=seed) for seed in (1, 1, 2))
    assert (len(first.train), len(first.test)) == (45, 5)
    assert torch.equal(first.test.images, again.test.images) and not torch.equal(first.test.images, other.test.images)
    assert torch.equal(everything(first)[:, 0], torch.from_numpy(X))
    for split in (first.train, first.test):
        assert split.labels.tolist() == Y[split.rows].tolist()


GREY = X[:, None]
COLOUR = RNG.integers(0, 256, (50, 3, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (X, GREY),
        (X[..., None], GREY),
        (X.reshape(50, -1), GREY),
        (np.asfortranarray(X), GREY),
        (X.astype(np.int64), GREY),
        (X.astype(">u2"), GREY),
        ((X / 255).astype(np.float32), GREY),
        ((X / 255).astype(">f8"), GREY),
        (X > 127, (GREY > 127) * 255),
        ((X > 127).astype(np.uint8), (GREY > 127) * 255),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (np.ascontiguousarray(COLOUR.transpose(0, 2, 3, 1)) / 255, COLOUR),
    ],
)
def test_layouts_and_types_that_people_have_give_the_same_images(tmp_path, array, expected):
    """Grey and colour, channels first or last, flat, Fortran order, whole numbers, floats, masks, other byte orders."""
    images = everything(load(tmp_path / "x.npy", array))
    assert images.dtype == torch.uint8 and torch.equal(images, torch.from_numpy(expected.astype(np.uint8)))


def test_images_that_are_not_square_are_cropped_about_their_centre_and_scaled(tmp_path, caplog):
    wide = np.zeros((9, 8, 16), np.uint8)
    wide[:, :, 4:12] = 200
    with caplog.at_level("INFO", "vae"):
        images = everything(load(tmp_path / "x.npy", wide, image_size=4))
    assert images.shape == (9, 1, 4, 4) and (images == 200).all()
    assert "16×8 pixels, cropped to squares and scaled to 4×4" in caplog.text


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        (np.array(list("cab"))[Y], ("a", "b", "c")),
        (np.array([b"c", b"a", b"b"])[Y], ("a", "b", "c")),
        (Y[:, None] + 8, ("8", "9", "10")),
        (np.eye(3)[Y], ("0", "1", "2")),
        (Y.astype(np.float64), ("0", "1", "2")),
        (Y == 1, ("False", "True")),
    ],
)
def test_labels_of_every_kind_become_classes(tmp_path, labels, class_names):
    splits = load(tmp_path / "x.npz", {"images": X, "labels": labels})
    assert splits.class_names == class_names
    values = np.array(class_names)[splits.train.labels]
    flat = labels.argmax(1) if labels.shape == (50, 3) else labels.reshape(-1)
    flat = np.char.decode(flat) if flat.dtype.kind == "S" else flat.astype(int) if flat.dtype.kind == "f" else flat
    assert values.tolist() == flat[splits.train.rows].astype(str).tolist()


def test_medmnist_s_validation_set_is_the_run_s(tmp_path):
    parts = {"train": slice(0, 30), "val": slice(30, 40), "test": slice(40, 50)}
    content = {f"{name}_images": X[part] for name, part in parts.items()}
    content |= {f"{name}_labels": Y[part, None] for name, part in parts.items()}
    splits = load(tmp_path / "x.npz", content)
    assert torch.equal(splits.val.images[:, 0], torch.from_numpy(X[30:40]))
    assert splits.val.labels.tolist() == Y[30:40].tolist()
    assert load(tmp_path / "x.npz", content, binarize="static").val.images.unique().tolist() == [0, 255]
    with pytest.raises(UsageError, match="--val_split"):
        load(tmp_path / "x.npz", content, val_split=0.1)


OBJECTS = np.array([{}] * 50, dtype=object)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (X.astype(float), r"floats from 0 to 255, not in \[0, 1\]: save x.astype\(np.uint8\)"),
        (X / 127.5 - 1, r"floats from -1 to 1, not in \[0, 1\]: scale them"),
        (np.where(X > 250, np.nan, 0.5), "NaN"),
        (X.astype(int) * 300, "whole numbers from 0 to 76,500: scale them"),
        (np.concatenate([np.eye(28, dtype=np.uint8)[None].repeat(1000, 0), X]), "of 0 and 1, and others follow"),
        (X + 0j, "values of type complex128"),
        (np.array(["a"] * 9), "values of type <U1"),
        (OBJECTS, "Python objects, which are never loaded"),
        (X[:0], "no images"),
        (X[:3], "too few images"),
        (X[0], r"shape \(28, 28\)"),
        (X.reshape(50, 14, 56)[:, :2], "4 pixels or more"),
        (np.zeros((50, 28, 28, 4), np.uint8), r"drop the fourth channel, x\[..., :3\]"),
        (np.zeros((50, 3072), np.uint8), r"x.reshape\(-1, H, W, C\)"),
        ({"foo": X, "bar": Y}, "holds foo, bar: name its arrays x_train"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "no labels for x_test"),
        ({"x_train": X, "x_test": COLOUR}, "in grey and in colour"),
        ({"images": X, "labels": Y[:9]}, r"shape \(9,\) for 50 images"),
        ({"images": X, "labels": Y / 2}, "fractions or NaN"),
        ({"images": X, "labels": np.ones((50, 3))}, "isn't one-hot"),
        ({"images": X, "labels": OBJECTS}, r"\(labels\) holds Python objects"),
        ({"images": X, "labels": Y + 0j}, "labels are whole numbers or text"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_that_says_what_to_do(tmp_path, content, message):
    path = tmp_path / ("x.npz" if isinstance(content, dict) else "x.npy")
    with pytest.raises(DataError, match=message) as caught:
        load(path, content)
    assert "\n" not in str(caught.value) and "x.np" in str(caught.value)


def test_too_many_labels_are_no_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("vae.data.arrays.MAX_CLASSES", 2)
    with pytest.raises(DataError, match="3 different labels"):
        load(tmp_path / "x.npz", {"images": X, "labels": Y})


def test_places_that_hold_no_arrays_are_named(tmp_path):
    for name, message in (("none.npy", "there is no"), ("", "is a folder"), ("x.txt", r"no \.npy or \.npz")):
        (tmp_path / "x.txt").write_text("x")
        with pytest.raises(DataError, match=message):
            load_splits("arrays", tmp_path / name)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match="not a regular file"):
        load_splits("arrays", tmp_path / "pipe.npy")


def test_a_header_that_claims_more_than_the_file_holds_or_than_fits_is_refused(tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    (tmp_path / "x.npy").write_bytes(header.getvalue() + b"x" * 100)
    with pytest.raises(DataError, match="damaged: 228 bytes where its header says 784,000,000,000,128"):
        load_splits("arrays", tmp_path / "x.npy")
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((100_000, 28, 28), np.uint8))  # 76 kB
    room = os.statvfs_result((1, 1, 10**6, 10**6, 10**6, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: room)
    with pytest.raises(TooLargeError, match=r"78\.4 MB of disk, and 1 MB is free"):
        load_splits("arrays", tmp_path / "bomb.npz")
    long = b"\x93NUMPY\x02\x00" + (10**6).to_bytes(4, "little") + b" " * 10**6
    (tmp_path / "x.npy").write_bytes(long)
    with pytest.raises(DataError, match="damaged"):
        load_splits("arrays", tmp_path / "x.npy")


def test_a_mutated_file_is_used_or_refused_in_one_line(tmp_path):
    rng, wholes, refused = random.Random(0), [], 0
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", images=X[:9, :4, :4], labels=Y[:9])
        wholes.append((tmp_path / "x.npz").read_bytes())
    np.save(tmp_path / "x.npy", X[:9, :4, :4])
    wholes.append((tmp_path / "x.npy").read_bytes())
    for number in range(int(os.environ.get("VAE_MUTANTS", "150"))):
        path = tmp_path / "mutant"
        path.write_bytes(mutate(rng.choice(wholes), rng))
        try:
            load_splits("arrays", path, image_size=4)
        except (DataError, TooLargeError) as error:
            refused += 1
            assert "\n" not in str(error) and "mutant" in str(error), number
    assert refused > number / 4


def test_a_member_that_is_named_like_an_image_and_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", b"not an array")
    with pytest.raises(DataError, match="damaged"):
        open_arrays(tmp_path / "x.npz")


def test_arrays_and_tensors_in_memory_make_a_data_set():
    splits = make_splits(X[:40], X[40:], labels=Y[:40], test_labels=Y[40:], val_split=0.25)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 10, 10) and splits.title == "arrays"
    whole = make_splits(X[:40], X[40:])
    assert whole.train.images.data_ptr() == X.ctypes.data and whole.class_names == ()
    floats = make_splits(torch.rand(30, 16, 16, 3), labels=["b", "a"] * 15, seed=3, title="mine")
    assert floats.image_shape == (3, 16, 16) and floats.class_names == ("a", "b") and floats.title == "mine"
    half = make_splits(torch.full((20, 8, 8), 0.5, dtype=torch.bfloat16), image_size=4, binarize="threshold")
    assert half.train.images.unique().tolist() == [255] and half.image_shape == (1, 4, 4)
    with pytest.raises(UsageError, match="test_labels without test"):
        make_splits(X, test_labels=Y)
    with pytest.raises(DataError, match="labels of some images"):
        make_splits(X, X, labels=Y)


@pytest.mark.parametrize("binarize", ["threshold", "static", "dynamic"])
def test_mapped_images_are_made_binary_in_a_file_as_they_are_in_memory(tmp_path, binarize):
    mapped = load(tmp_path / "x.npz", KERAS, val_split=0.25, binarize=binarize)
    options = {"labels": Y[:40], "test_labels": Y[40:], "val_split": 0.25, "binarize": binarize}
    for ours, theirs in zip(mapped.all, make_splits(X[:40], X[40:], **options).all, strict=True):
        assert ours.is_mapped and torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)


def test_a_run_on_arrays_is_resumed_opened_and_listed_wherever_it_was_started(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", **KERAS)
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "arrays", "--data_dir", "mine.npz", "--run_name", "x", "--tsne_samples", "10", "--quiet"]
    scored = ["--mean_bias", "--final_eval", "--num_importance_samples", "1"]
    assert run_main(tmp_path, *flags, "--num_epochs", "1", "--val_split", "0.2", *scored) == 0
    monkeypatch.chdir(tmp_path / "outputs")
    assert main(["--resume", "x", "--num_epochs", "2", "--quiet"]) == 0
    assert load_state(tmp_path / "outputs/x")["epoch"] == 2
    run = open_run("x")
    assert run.title == "mine.npz" and run.class_names == ("0", "1", "2")
    assert [len(split) for split in run.splits.all] == [32, 8, 10] and run.data_dir.samefile(tmp_path / "mine.npz")
    assert read_run(tmp_path / "outputs/x").scoring == "mine.npz grey"
    assert cache.cache_dir() not in tmp_path.parents and not list(tmp_path.glob("*.npy"))
