"""Names and words from strangers, in folders and in checkpoints, are text wherever they come out, and nothing more."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from html_tags import Tags
from PIL import Image
from small_runs import load_state, real_pictures, run_main

from main import main

CLASSES = [
    "<script>alert(1)</script>".replace("/", "∕"),  # a slash can't be in a folder's name
    '"><img src=x onerror=alert(1)>',
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "turned \u202e gnp.exe",
    "two\nlines\ttab",
    "=cmd|' !A0",
    "+1", "-1", "@SUM(1)",
    "$\\frac{",
    "日本語 🐱",
    "# heading [link](javascript:alert(1))",
    "n" * 200,
]  # fmt: skip
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COMMANDS = (
    ["evaluate", "--num_importance_samples", "0"],
    ["sample", "--num_samples", "30"],
    ["reconstruct"],
    ["interpolate", "--steps", "3"],
    ["traverse", "--steps", "3"],
    ["embed", "--picture", "pca"],
    ["gif"],
    ["report"],
)


def paint(folder, count, level):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(level)
    for index in range(count):
        array = rng.integers(0, 255, (28, 28), dtype=np.uint8) // 4 + 10 * level
        Image.fromarray(array.astype(np.uint8)).save(folder / f"{index}.png")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Folder of a conditional run on folders of such names, with all its pictures drawn."""
    root = tmp_path_factory.mktemp("hostile")
    data_dir = root / "<b>\x1b[1m\u202e data"
    for level, name in enumerate(CLASSES):
        for part in ("train", "test"):
            paint(data_dir / part / name, 4, level)
    (root / "plainly named").symlink_to(data_dir.name, target_is_directory=True)
    name = "日本 & {{title}}"
    flags = ["--run_name", name, "--num_epochs", "2", "--sample_every", "1", "--gif", "--conditional", "--quiet"]
    with real_pictures():
        assert run_main(root, *flags, "--dataset", "folder", "--data_dir", str(root / "plainly named")) == 0
    return root / "outputs" / name


def test_a_folder_with_a_name_of_control_characters_is_no_flag(run_dir, capfd):
    """Flags are printable; such a folder can be reached by a link, and its own name is still shown as text."""
    root = run_dir.parent.parent
    assert run_main(root, "--run_name", "x", "--dataset", "folder", "--data_dir", str(next(root.glob("<b>*")))) == 2
    assert not CONTROLS.search(capfd.readouterr().err)


def test_the_report_has_no_markup_of_theirs(run_dir, finished_run):
    tags = Tags((run_dir / "report.html").read_text("utf-8")).tags
    page = (run_dir / "report.html").read_text("utf-8")
    assert not CONTROLS.search(page) and "<img src=x" not in page and "<script>alert" not in page
    own = Tags((finished_run / "outputs/whole/report.html").read_text("utf-8")).tags
    assert sum(tag == "script" for tag, _ in tags) == sum(tag == "script" for tag, _ in own)
    assert not [name for _, attributes in tags for name in dict(attributes) if name.startswith("on")]


@pytest.mark.pictures
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands_write_their_pictures_and_say_nothing_but_text(run_dir, tmp_path, capfd, command):
    assert main([*command, "--run", str(run_dir), "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    out, err = capfd.readouterr()
    assert err == "" and not CONTROLS.search(out), out
    if command[0] == "embed":
        with next((tmp_path / "out").glob("test_latents*.csv")).open(newline="", encoding="utf-8") as stream:
            classes = {row["class"] for row in csv.DictReader(stream)}
        assert len(classes) == len(CLASSES) and not [name for name in classes if name[0] in "=+-@\t\r"]


def test_a_run_on_such_folders_says_nothing_but_text(run_dir, tmp_path, capfd):
    flags = ["--run_name", "again", "--num_epochs", "1", "--sample_every", "0", "--dataset", "folder"]
    assert run_main(tmp_path, *flags, "--data_dir", str(run_dir.parent.parent / "plainly named")) == 0
    out, err = capfd.readouterr()
    assert "�" in out and not CONTROLS.search(out) and err == ""


def test_tensorboard_s_files_have_a_line_for_each_point(run_dir):
    (metadata,) = (run_dir.parent.parent / "runs" / run_dir.name).glob("*/*/metadata.tsv")
    lines = metadata.read_text("utf-8").splitlines()
    assert len(lines) == 4 * len(CLASSES) and not CONTROLS.search(metadata.read_text("utf-8"))


def test_a_damaged_file_s_name_is_shown_without_its_control_characters(tmp_path, capfd):
    paint(tmp_path / "data", 20, 1)
    (tmp_path / "data/\x1b[2J\u202e.png").write_text("<html>")
    assert run_main(tmp_path, "--dataset", "folder", "--data_dir", str(tmp_path / "data")) == 1
    err = capfd.readouterr().err
    assert "can't be read as an image" in err and not CONTROLS.search(err) and err.count("\n") == 1


WORDS = "\x1b[31m\u202e<img src=x onerror=alert(1)>\n$x^$"


def test_a_checkpoint_s_words_are_text_too(finished_run, tmp_path, monkeypatch, capfd):
    state = load_state(finished_run / "outputs/whole")
    state["shown"] = {"title": WORDS, "protocol": WORDS, "class_names": [WORDS] * 10}
    state["fallback"] = WORDS
    state["places"]["data_dir"] = WORDS
    torch.save(state, tmp_path / "x.pt")
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS[:6]:
        assert main([*command, "--checkpoint", "x.pt", "--device", "cpu"]) == 0
        out, err = capfd.readouterr()
        assert not CONTROLS.search(out + err), command


def test_a_reason_for_digits_in_a_run_of_other_images_is_no_title(finished_run, tmp_path, capfd):
    state = load_state(finished_run / "outputs/whole")
    state |= {"fallback": "why", "config": {**state["config"], "dataset": "folder"}}
    torch.save(state, tmp_path / "x.pt")
    paint(tmp_path / "data", 20, 1)
    flags = ["--data_dir", str(tmp_path / "data"), "--device", "cpu", "--output", str(tmp_path / "x.json")]
    assert main(["evaluate", "--checkpoint", str(tmp_path / "x.pt"), *flags]) == 1
    assert "other images or classes" in capfd.readouterr().err


def test_a_picture_whose_name_is_no_unicode_is_reconstructed(finished_run, tmp_path, capfd):
    (tmp_path / "mine").mkdir()
    page = np.zeros((40, 40), np.uint8)
    page[8:32, 18:22] = 255
    Image.fromarray(page).save(tmp_path / "mine/caf\udce9.png")  # é in Latin-1, from an old archive
    flags = ["--run", str(finished_run / "outputs/whole"), "--device", "cpu", "--output", str(tmp_path / "out")]
    assert main(["reconstruct", "--images", str(tmp_path / "mine"), *flags]) == 0
    assert "caf�" in capfd.readouterr().out
    (image,) = json.loads((tmp_path / "out/reconstructions_caf.json").read_text("utf-8"))["images"]
    assert image["name"] == "caf�.png"


def test_a_config_s_words_are_refused_as_text(finished_run, tmp_path, capfd):
    state = load_state(finished_run / "outputs/whole")
    for name in ("preset", "dataset", "data_dir", "run_name", "device", "arch", WORDS):
        torch.save({**state, "config": {**state["config"], name: WORDS}}, tmp_path / "x.pt")
        assert main(["sample", "--checkpoint", str(tmp_path / "x.pt"), "--device", "cpu"]) != 0
        err = capfd.readouterr().err
        assert not CONTROLS.search(err) and err.count("\n") == 1
