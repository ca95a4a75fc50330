"""People's own pictures: whatever they are, they come out as MNIST's do, or are refused by name."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from vae.data.errors import DataError
from vae.data.own_images import find, prepare
from vae.system.errors import UsageError

SHAPE = (1, 28, 28)


def as_mnist(path, **kwargs):
    return prepare(path, dataset="mnist", image_shape=SHAPE, **kwargs)


def seven(width=300, height=400, background=0, ink=255, mode="L"):
    picture = Image.new(mode, (width, height), background)
    line = [(width * 0.3, height * 0.25), (width * 0.7, height * 0.25), (width * 0.45, height * 0.8)]
    ImageDraw.Draw(picture).line(line, fill=ink, width=width // 12, joint="curve")
    return picture


@pytest.fixture
def reference(tmp_path):
    seven().save(tmp_path / "reference.png")
    return as_mnist(tmp_path / "reference.png").pixels


def test_ink_is_fitted_into_20_pixels_and_centred_by_its_mass(reference):
    ink = reference[0].numpy()
    rows, columns = ((ink > 0).any(axis).nonzero()[0] for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20 and ink.max() == 1
    for axis in (0, 1):
        centre = (ink.sum(1 - axis) * (np.arange(28) + 0.5)).sum() / ink.sum()
        assert 14 <= centre < 15.1  # where MNIST's own lie


def test_an_image_that_is_made_that_way_already_stays_as_it_is(tmp_path, reference):
    Image.fromarray((reference[0].numpy() * 255).round().astype(np.uint8)).save(tmp_path / "again.png")
    again = as_mnist(tmp_path / "again.png").pixels
    assert (again - reference).abs().max() < 0.05


def variants(folder):
    """The same seven, in the ways that people have it; and whether its background is light."""
    exif = Image.Exif()
    exif[0x0112] = 6
    seven(background=255, ink=0).rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=95)
    seven(background=(250, 240, 220), ink=(20, 30, 120), mode="RGB").save(folder / "ink.webp", lossless=True)
    seven(background=255, ink=0).convert("P").save(folder / "palette.gif")
    seven(background=0, ink=1, mode="1").save(folder / "bits.bmp")
    seven(background=(0, 0, 0, 0), ink=(0, 0, 0, 255), mode="RGBA").save(folder / "dark_on_clear.png")
    seven(background=(0, 0, 0, 0), ink=(255, 255, 255, 255), mode="RGBA").save(folder / "light_on_clear.png")
    Image.fromarray(np.asarray(seven()).astype(np.uint16) * 257).save(folder / "sixteen.png")
    seven(width=1500, height=2000).save(folder / "large.png")
    seven(background=255, ink=0).convert("CMYK").save(folder / "print.jpg", quality=95)
    light = {"turned.jpg", "ink.webp", "palette.gif", "dark_on_clear.png", "print.jpg"}
    return {path: path.name in light for path in find([str(folder)])}


def test_size_colour_background_and_rotation_make_no_difference(tmp_path, reference):
    (tmp_path / "own").mkdir()
    pictures = variants(tmp_path / "own")
    assert len(pictures) == 9
    for path, light in pictures.items():
        one = as_mnist(path)
        assert one.inverted == light, path
        assert (one.pixels - reference).abs().mean() < 0.02, path
        assert one.original.shape == (3, 112, 112) and one.original.min() >= 0 and one.original.max() <= 1


def test_noise_and_uneven_light_do_not_move_the_ink(tmp_path, reference):
    noise = np.random.default_rng(0).normal(0, 6, (400, 300))
    paper = np.asarray(seven(background=200, ink=40)) * np.linspace(0.9, 1.05, 300) + noise
    Image.fromarray(paper.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    one = as_mnist(tmp_path / "photo.png")
    assert one.inverted and (one.pixels - reference).abs().mean() < 0.04


@pytest.mark.parametrize(("frame", "light"), [(1, True), (3, False), (12, True), (12, False)])
def test_a_frame_is_left_out_and_does_not_pass_for_the_background(tmp_path, reference, frame, light):
    picture = seven(background=255, ink=0) if light else seven()
    corners = (0, 0, picture.width - 1, picture.height - 1)
    ImageDraw.Draw(picture).rectangle(corners, outline=0 if light else 255, width=frame)
    picture.save(tmp_path / "framed.jpg", quality=90)
    one = as_mnist(tmp_path / "framed.jpg")
    assert one.inverted == light and one.notes == ("what lies at the picture's edge is ignored",)
    assert (one.pixels - reference).abs().mean() < 0.02


def test_a_bar_that_fills_its_picture_is_no_frame(tmp_path):
    page = np.zeros((40, 22), np.uint8)
    page[1:-1, 1:-1] = 255
    Image.fromarray(page).save(tmp_path / "bar.png")
    one = as_mnist(tmp_path / "bar.png")
    assert not one.notes and not one.inverted and one.pixels.max() == 1


def test_several_digits_get_a_note_and_one_in_any_hand_gets_none(tmp_path):
    one = seven()
    for name, size, second in (("beside", (600, 400), (300, 0)), ("below", (300, 800), (0, 400))):
        page = Image.new("L", size, 0)
        page.paste(one)
        page.paste(one, second)
        page.save(tmp_path / f"{name}.png")
        assert as_mnist(tmp_path / f"{name}.png").notes == ("several separate shapes, where one digit is expected",)
    one.save(tmp_path / "one.png")
    assert not as_mnist(tmp_path / "one.png").notes
    for index, image in enumerate(load_digits().images[:60]):
        Image.fromarray((image * 15).astype(np.uint8)).resize((80, 80)).save(tmp_path / f"{index}.png")
        assert not as_mnist(tmp_path / f"{index}.png").notes, index


def test_a_binary_model_gets_binary_pixels(tmp_path):
    seven().save(tmp_path / "x.png")
    assert set(as_mnist(tmp_path / "x.png", binary=True).pixels.unique().tolist()) == {0, 1}


def test_other_sizes_and_data_sets_are_served(tmp_path):
    seven().save(tmp_path / "x.png")
    assert prepare(tmp_path / "x.png", dataset="mnist", image_shape=(1, 64, 64)).pixels.shape == (1, 64, 64)
    filled = prepare(tmp_path / "x.png", dataset="kmnist", image_shape=SHAPE).pixels
    assert (filled[0].sum(1) > 0).all()  # from top to bottom
    colour = prepare(tmp_path / "x.png", dataset="folder", image_shape=(3, 32, 32))
    assert colour.pixels.shape == (3, 32, 32) and not colour.inverted


def test_a_picture_that_can_t_be_used_is_refused_by_its_name(tmp_path):
    """What else is wrong with files is in test_folder.py: both read them with `read_upright`."""
    Image.new("L", (50, 50), 128).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no image")
    for name, fault in {"text.png": "can't be read as an image", "blank.png": "is blank"}.items():
        with pytest.raises(DataError, match=f"{name}.* {fault}") as caught:
            as_mnist(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_images_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such image file"):
        find(["nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        find([str(tmp_path / "empty")])
