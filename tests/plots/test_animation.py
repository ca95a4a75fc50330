import numpy as np
import torch
from PIL import Image, ImageColor

from vae.plots.animation import write_gif
from vae.plots.canvas import COLORS
from vae.system.files import write_csv, write_npz


def test_an_animation_keeps_its_frames_their_times_and_its_white(tmp_path):
    frames = [np.full((8, 8, 3), 255, np.uint8) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[2:6, 2:6] = (40 * number, 0, 0)
    frames[2] = frames[2][:, :7]  # narrower: laid on white
    write_gif(tmp_path / "x.gif", frames, milliseconds=[100, 200, 500])
    with Image.open(tmp_path / "x.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (8, 8), 0)
        for number, duration in enumerate((100, 200, 500)):
            film.seek(number)
            page = np.asarray(film.convert("RGB")).astype(int)
            assert film.info["duration"] == duration
            assert (page[0] == 255).all() and abs(page[3, 3] - (40 * number, 0, 0)).max() <= 8


def test_arrays_are_read_by_other_programs(tmp_path):
    write_npz(tmp_path / "x.npz", {"a": torch.arange(3), "names": np.array(["é", "b"])})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays["a"].tolist() == [0, 1, 2] and arrays["names"].tolist() == ["é", "b"]
    write_csv(tmp_path / "x.csv", ["a", "b"], [[1, "x,y"], [2, "é"]])
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == 'a,b\n1,"x,y"\n2,é\n'


def test_an_animation_keeps_small_spots_of_colour_apart(tmp_path):
    page = np.random.default_rng(0).integers(0, 256, (200, 200, 1)).repeat(3, axis=2).astype(np.uint8)
    spots = [np.array(ImageColor.getrgb(color)) for color in COLORS]
    for number, color in enumerate(spots):
        page[3:6, 3 + 6 * number : 6 + 6 * number] = color
    write_gif(tmp_path / "x.gif", [page, 255 - page // 2, page], milliseconds=[100] * 3, keep=COLORS)
    with Image.open(tmp_path / "x.gif") as film:
        first = np.asarray(film.convert("RGB")).astype(int)
    colors = [first[4, 4 + 6 * number] for number in range(len(spots))]
    assert max(abs(a - b).max() for a, b in zip(colors, spots, strict=True)) <= 4
    assert len({tuple(color) for color in colors}) == len(COLORS) == 10
