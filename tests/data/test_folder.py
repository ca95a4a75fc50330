import errno
import gc
import io
import json
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Timer

import numpy as np
import pytest
import torch
from html_tags import Tags
from mutants import mutate
from PIL import Image
from small_runs import load_state, run_main

from vae.data import cache, decode, workers
from vae.data.datasets import load_splits
from vae.data.errors import DataError
from vae.data.folder import load_images
from vae.data.own_images import prepare
from vae.system.console import Console


def paint(path, value, *, mode="L", size=(10, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def fill(root, count, *, mode="L", value=lambda i: 20 * (i % 13)):
    for i in range(count):
        paint(root / f"{i:02d}.png", value(i), mode=mode)


def load(root, **options):
    return load_splits("folder", root, **options)


def everything(splits):
    return torch.cat([splits.train.images, splits.test.images])


def test_class_folders_in_train_and_test_become_labels(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, count)
    (tmp_path / "train" / "dog").rename(tmp_path / "kept elsewhere")
    (tmp_path / "train" / "dog").symlink_to(tmp_path / "kept elsewhere")
    (tmp_path / "train" / "cat" / "loop").symlink_to(tmp_path / "train")
    splits = load(tmp_path)
    assert splits.class_names == ("cat", "dog") and splits.train.labels.tolist() == [0] * 4 + [1] * 4
    assert splits.test.images.shape == (4, 1, 28, 28) and splits.title == tmp_path.name
    assert splits.train.images[1].unique().tolist() == [20]


def test_one_folder_is_split_by_the_seed(tmp_path):
    fill(tmp_path, 12)
    first, again, other = load(tmp_path, seed=1), load(tmp_path, seed=1), load(tmp_path, seed=2)
    assert (len(first.train), len(first.test)) == (8, 4) and first.class_names == ()
    assert torch.equal(first.train.images, again.train.images) and not torch.equal(
        first.train.images, other.train.images
    )
    assert sorted(everything(first)[:, 0, 0, 0].tolist()) == [20 * i for i in range(12)]


def test_one_colour_image_makes_all_of_them_rgb_and_sizes_may_differ(tmp_path):
    fill(tmp_path, 4)
    paint(tmp_path / "wide.png", (255, 0, 10), mode="RGB", size=(40, 20))
    images = everything(load(tmp_path, image_size=16))
    assert images.shape == (5, 3, 16, 16)
    assert any(image[:, 8, 8].tolist() == [255, 0, 10] for image in images)


def test_greys_of_sixteen_bits_are_scaled(tmp_path):
    fill(tmp_path, 7)
    deep = np.full((10, 10), 200 * 257, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.frombytes("I;16B", (10, 10), deep.astype(">u2").tobytes()).save(tmp_path / "big_endian.tiff")
    images = everything(load(tmp_path))
    assert images.shape[1] == 1 and (images == 200).all((1, 2, 3)).sum() == 2


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_greys_of_fewer_bits_in_files_of_sixteen_are_scaled_alike(tmp_path, bits):
    """As cameras and scanners write them: a dark image stays darker than the others."""
    for name, grey in {"bright": 250, **{f"dark {i}": 40 for i in range(5)}}.items():
        Image.fromarray(np.full((10, 10), grey << bits - 8, dtype=np.uint16)).save(tmp_path / f"{name}.png")
    assert sorted(everything(load(tmp_path))[:, 0, 0, 0].tolist()) == [40] * 5 + [250]


def test_a_hot_pixel_darkens_no_image(tmp_path):
    """65,535 is not a grey of 12 bits: it is white, and the others stay as they are."""
    pixels = np.full((10, 10), 40 << 4, dtype=np.uint16)
    pixels[0] = 250 << 4
    for i in range(6):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    pixels[5, 5] = 65535
    Image.fromarray(pixels).save(tmp_path / "hot.png")
    images = everything(load(tmp_path, image_size=10))
    assert images.unique(return_counts=True)[0].tolist() == [40, 250, 255] and (images == 255).sum() == 1


def test_black_and_white_of_sixteen_bits_stays_so(tmp_path):
    for i in range(7):
        Image.fromarray(np.eye(10, dtype=np.uint16) * 65535).save(tmp_path / f"{i}.png")
    assert everything(load(tmp_path, image_size=10)).unique().tolist() == [0, 255]


def test_a_picture_of_ten_bits_is_not_blank(tmp_path):
    page = np.full((60, 40), 1000, dtype=np.uint16)
    page[10:50, 18:22] = 100
    Image.fromarray(page).save(tmp_path / "scan.tif")
    assert prepare(tmp_path / "scan.tif", dataset="mnist", image_shape=(1, 28, 28)).pixels.max() == 1


def test_transparency_lies_on_white(tmp_path):
    fill(tmp_path, 7)
    paint(tmp_path / "clear.png", (0, 0, 0, 0), mode="RGBA")
    assert (everything(load(tmp_path)) == 255).all((1, 2, 3)).sum() == 1


def test_a_folder_with_train_and_no_test_is_refused(tmp_path):
    fill(tmp_path / "train" / "a", 9)
    fill(tmp_path / "val" / "a", 9)
    with pytest.raises(DataError, match="add what is missing"):
        load(tmp_path)


def animated(path):
    frames = [Image.new("L", (4, 4), v) for v in (0, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def truncated(path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def bomb(path):
    Image.new("1", (10_000, 9_000)).save(path)


POSTSCRIPT = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("bad.png", lambda p: p.write_text("<html>"), "can't be read as an image"),
        ("bad.png", lambda p: p.write_bytes(b""), "can't be read as an image"),
        ("bad.png", truncated, "is damaged: .*; delete or replace it"),
        ("bad.gif", animated, "animated"),
        (
            "bad.tif",
            lambda p: Image.new("F", (4, 4)).save(p, "tiff"),
            "mode F: convert it to greyscale of 8 or 16 bits",
        ),
        (
            "bad.tif",
            lambda p: Image.new("I", (4, 4)).save(p, "tiff"),
            "mode I: convert it to greyscale of 8 or 16 bits",
        ),
        ("bad.png", bomb, "10,000×9,000"),
        ("bad.png", lambda p: p.symlink_to("nowhere"), "can't be read as an image"),
        ("bad.png", os.mkfifo, "not a regular file"),
        ("bad.tif", lambda p: p.write_bytes(b"II*\0\x08\0\0\0\0\0\0\0"), "can't be read as an image"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(tmp_path, name, make, message):
    fill(tmp_path, 3)
    make(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_all_images_that_cannot_be_used_are_counted_and_the_first_ten_named_at_once(tmp_path):
    for part in ("train", "test"):
        fill(tmp_path / part / "cat", 6)
    for i in range(9):
        truncated(tmp_path / "train" / "cat" / f"torn {i}.png")
    for i in range(3):
        (tmp_path / "test" / "cat" / f"web {i}.png").write_text("<html>")
    with pytest.raises(
        DataError, match=rf"12 of 24 images below {tmp_path} can't be used; delete or replace them: "
    ) as caught:
        load(tmp_path)
    message = str(caught.value)
    names = [f"train/cat/torn {i}.png" for i in range(9)] + ["test/cat/web 0.png"]
    assert all(name in message for name in names) and "web 1" not in message and "\n" not in message
    assert "is damaged" in message


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".svg", ".HEIC", ".dng", ".tga"])
def test_pictures_in_formats_that_are_not_read_are_left_out_with_a_line(tmp_path, caplog, suffix):
    fill(tmp_path, 8)
    for name in ("a", "b"):
        (tmp_path / f"{name}{suffix}").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    with caplog.at_level("INFO", "vae"):
        assert len(everything(load(tmp_path))) == 8
    (line,) = caplog.messages
    assert line.startswith(f"left out: 2 {suffix.lower()} below {tmp_path}")


def test_a_jpeg_is_read_whatever_its_suffix(tmp_path):
    for i in range(8):
        Image.new("L", (8, 8), 30).save(tmp_path / f"{i}.{('jfif', 'jpg')[i % 2]}", "jpeg")
    assert len(everything(load(tmp_path))) == 8


@pytest.fixture
def count_decoded(monkeypatch):
    """How many pictures are decoded in this process, in a list of one."""
    count, real = [0], decode._read

    def read(path, bits):
        count[0] += 1
        return real(path, bits)

    monkeypatch.setattr(decode, "_read", read)
    return count


@pytest.fixture
def many_processes(monkeypatch):
    """Any number of pictures is decoded by processes, three at a time."""
    monkeypatch.setattr(workers, "ALONE", 2)
    monkeypatch.setattr(workers, "BLOCK", 3)


def test_a_folder_is_decoded_once_until_one_of_its_files_changes(tmp_path, count_decoded):
    fill(tmp_path / "a", 6)
    first = load(tmp_path, image_size=6)
    assert count_decoded == [6] and torch.equal(everything(load(tmp_path, image_size=6)), everything(first))
    assert count_decoded == [6] and first.train.is_mapped
    load(tmp_path, image_size=4)
    assert count_decoded == [12]  # at each size
    load(tmp_path, image_size=6)
    assert count_decoded == [12]  # which evict each other not
    for number, change in enumerate(
        (
            lambda: paint(tmp_path / "a" / "01.png", 7),
            lambda: os.utime(tmp_path / "a" / "01.png", (1, 1)),
            lambda: paint(tmp_path / "a" / "new.png", 9),
            lambda: (tmp_path / "a" / "new.png").unlink(),
            lambda: (tmp_path / "a" / "02.png").rename(tmp_path / "a" / "00b.png"),
        ),
        start=1,
    ):
        before = count_decoded[0]
        change()
        splits = load(tmp_path, image_size=6)
        assert count_decoded[0] - before == len(everything(splits)), number
    assert 7 in everything(splits)


def kept(root):
    """The cached file of a folder's images, once it was loaded."""
    before = set(cache.cache_dir().glob("*"))
    load(root)
    (path,) = set(cache.cache_dir().glob("*")) - before
    return path


def test_a_changed_folder_s_former_images_are_not_kept(tmp_path):
    fill(tmp_path, 8)
    first = kept(tmp_path)
    paint(tmp_path / "00.png", 7)
    assert kept(tmp_path).exists() and not first.exists()


@pytest.mark.parametrize("harm", [lambda content: content[:-1], lambda content: b"", lambda content: b"x" + content])
def test_a_half_written_or_damaged_cache_is_never_used(tmp_path, harm):
    fill(tmp_path, 8)
    path = kept(tmp_path)
    whole = path.read_bytes()
    path.unlink()  # it may be mapped
    path.write_bytes(harm(whole))
    assert sorted(everything(load(tmp_path))[:, 0, 0, 0].tolist()) == [20 * i for i in range(8)]
    assert path.read_bytes() == whole


def test_what_a_killed_process_leaves_in_the_cache_is_removed(tmp_path):
    fill(tmp_path, 8)
    path = kept(tmp_path)
    path.rename(path.with_name(f".{path.name}.4711.tmp"))
    load(tmp_path)
    assert path.exists() and not list(path.parent.glob(f".{path.name}.*"))


def test_where_nothing_can_be_kept_images_are_decoded_into_memory(tmp_path, monkeypatch, caplog, count_decoded):
    fill(tmp_path / "images", 8)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with caplog.at_level("INFO", "vae"):
        for _ in range(2):
            splits = load(tmp_path / "images", binarize="threshold")
    assert count_decoded == [16] and everything(splits).unique().tolist() == [0, 255]
    assert "decoded images are not kept, so they take memory" in caplog.text


def test_a_disk_without_room_is_known_before_images_are_written(tmp_path, monkeypatch, count_decoded):
    """A mapped file can't report a full disk: writing to it would end the process."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    fill(tmp_path, 8)
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert len(everything(load(tmp_path, binarize="threshold"))) == 8 and count_decoded == [8]


def test_processes_that_start_at_once_decode_a_folder_once(tmp_path, caplog, count_decoded):
    fill(tmp_path, 8)
    with cache.wait_for_lock(kept(tmp_path).with_suffix(".lock"), waiting_for=""):
        pass  # the lock's file goes with it
    assert not list(cache.cache_dir().glob("*.lock"))
    paint(tmp_path / "00.png", 1)
    with ThreadPoolExecutor(4) as threads:
        splits = list(threads.map(lambda _: load(tmp_path), range(4)))
    assert count_decoded == [16] and all(torch.equal(it.test.images, splits[0].test.images) for it in splits)


def test_processes_decode_the_same_images_as_one_does(tmp_path, many_processes, monkeypatch, count_decoded):
    """Grey, with 16-bit greys of unlike depth, and in colour from the middle on."""
    for name, grey in {"bright": 250, **{f"dark {i}": 40 for i in range(5)}}.items():
        path = tmp_path / "grey" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((10, 10), grey << 4, dtype=np.uint16)).save(path)
    fill(tmp_path / "colour", 20)
    paint(tmp_path / "colour" / "07.png", (255, 0, 10), mode="RGB")
    monkeypatch.setattr("vae.data.folder.PROBED", 1)
    images = {name: everything(load(tmp_path / name)) for name in ("grey", "colour")}
    assert count_decoded == [5]  # dark ones, once more
    assert sorted(images["grey"][:, 0, 0, 0].tolist()) == [40] * 5 + [250] and images["colour"].shape[1] == 3
    monkeypatch.setattr(workers, "ALONE", 1000)
    monkeypatch.setenv("VAE_CACHE_DIR", str(tmp_path / "cache"))
    for name, decoded in images.items():
        assert torch.equal(everything(load(tmp_path / name)), decoded)


def test_all_that_processes_cannot_use_is_named(tmp_path, many_processes):
    fill(tmp_path, 9)
    truncated(tmp_path / "torn.png")
    with pytest.raises(DataError, match=r"torn\.png is damaged"):
        load(tmp_path)


@pytest.mark.parametrize("phase", ["before", "amid"])
def test_a_decoding_process_that_is_killed_ends_the_run_with_a_line(tmp_path, many_processes, monkeypatch, phase):
    fill(tmp_path, 9)
    real = workers._Worker.decode

    def killed(self, *arguments, **options):
        if phase == "before":
            self._process.kill()
            self._process.wait()
        else:
            self._process.send_signal(signal.SIGSTOP)
            Timer(0.2, self._process.kill).start()
        return real(self, *arguments, **options)

    monkeypatch.setattr(workers._Worker, "decode", killed)
    with pytest.raises(DataError, match="a process that decodes images was ended"):
        load(tmp_path)


def test_ctrl_c_ends_the_processes_that_decode(tmp_path, many_processes, monkeypatch):
    fill(tmp_path, 12)
    started, end = [], workers._Worker.end
    monkeypatch.setattr(workers._Worker, "end", lambda self: (started.append(self), end(self)))

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "raise_if_stopped", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path)
    assert started and all(worker._process.returncode is not None for worker in started)
    assert not list(cache.cache_dir().glob(".*.tmp"))


def test_decoding_shows_a_bar_on_the_console(tmp_path, monkeypatch):
    fill(tmp_path, 8)
    counts = []
    monkeypatch.setattr(Console, "start_bar", lambda self, total, **options: counts.append(total))
    monkeypatch.setattr(Console, "advance", lambda self, count: counts.append(-count))
    with Console():
        load(tmp_path)
    assert counts[0] == 8 and sum(counts) == 0 and Console.active is None


def test_a_picture_runs_no_program_whatever_its_name_hides(tmp_path, monkeypatch):
    """Pillow hands PostScript, a language, to Ghostscript."""
    (tmp_path / "seven.png").write_text(POSTSCRIPT)
    monkeypatch.setattr("subprocess.check_call", lambda *args, **kwargs: pytest.fail("a program was run"))
    with pytest.raises(DataError, match=r"seven\.png can't be read as an image"):
        prepare(tmp_path / "seven.png", dataset="mnist", image_shape=(1, 28, 28))


def test_a_class_folder_that_can_t_be_looked_into_is_not_left_out_in_silence(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 6)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"can't look into .*dog: Permission denied"):
        load(tmp_path)


def test_a_folder_that_holds_nothing_to_train_on_says_so(tmp_path):
    with pytest.raises(DataError, match="no images"):
        load(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        load(tmp_path / "none")
    paint(tmp_path / "one.png", 0)
    with pytest.raises(DataError, match="too few"):
        load(tmp_path)
    paint(tmp_path / "a" / "x.png", 0)
    with pytest.raises(DataError, match="lies beside the class folders"):
        load(tmp_path)


@pytest.mark.figures
def test_a_run_on_unlabelled_colour_images_draws_its_pictures(tmp_path):
    fill(tmp_path / "data", 24, mode="RGB", value=lambda i: (10 * i, 0, 200))
    flags = ["--dataset", "folder", "--num_epochs", "1", "--run_name", "mine", "--quiet", "--tsne_samples", "10"]
    assert run_main(tmp_path, *flags, "--image_size", "8", "--arch", "conv", "--base_channels", "4") == 0
    assert (tmp_path / "outputs/mine/manifold.png").exists()
    assert load_state(tmp_path / "outputs/mine")["image_shape"] == [3, 8, 8]
    explorer = json.loads(Tags((tmp_path / "outputs/mine/report.html").read_text("utf-8")).data)["explorer"]
    assert explorer["shape"] == [3, 8, 8] and explorer["classes"] == []
    assert run_main(tmp_path, *flags[:-4], "--conditional", "--run_name", "labels") == 2


def pictures():
    """A picture in every format that is read, as bytes, by suffix."""
    line = np.full((40, 30), 200, dtype=np.uint8)
    line[5:30, 14:18] = 20
    grey, exif = Image.fromarray(line), Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "jpg", "gif", "tif", "webp", "bmp", "ppm"):
        stream = io.BytesIO()
        options = {"compression": "tiff_lzw"} if suffix == "tif" else {}
        grey.convert("RGB").save(stream, Image.registered_extensions()[f".{suffix}"], exif=exif, **options)
        yield suffix, stream.getvalue()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Pillow leaves files open that it fails to read
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_mutated_picture_is_used_or_refused_in_one_line(tmp_path, capfd):
    rng, whole, refused = random.Random(0), dict(pictures()), 0
    for number in range(int(os.environ.get("VAE_MUTANTS", "200"))):
        suffix, content = rng.choice(list(whole.items()))
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(mutate(content, rng))
        for read in (
            lambda: prepare(path, dataset="mnist", image_shape=(1, 28, 28)),  # noqa: B023
            lambda: load_images([path], root=tmp_path, size=28),  # noqa: B023
        ):
            try:
                read()
            except DataError as error:
                refused += 1
                assert "\n" not in str(error) and path.name in str(error), number
    assert refused > number / 2
    gc.collect()
