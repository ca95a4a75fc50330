"""Where commands write: names of their own that replace nothing unasked."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from vae.commands import session as module
from vae.commands.session import Session
from vae.config.options import Sample
from vae.system.errors import UsageError
from vae.system.files import FileError

PAIR = ("morph.png", "morph.gif")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Begin a command in a run's folder, without a model."""

    def open_run(path, **options):
        return SimpleNamespace(run_dir=tmp_path, path=Path(path) if str(path).endswith(".pt") else Path("last.pt"))

    monkeypatch.setattr(module, "open_run", open_run)
    monkeypatch.chdir(tmp_path)
    return lambda **options: Session(Sample(**options), console=None)


def names(paths):
    return [path.name for path in paths]


def test_files_that_belong_together_share_the_next_free_number(start, tmp_path):
    with start() as session:
        assert session.paths(*PAIR) == [tmp_path / "sample/morph.png", tmp_path / "sample/morph.gif"]
        (tmp_path / "sample/morph.gif").write_text("a result")
    assert names(start().paths(*PAIR)) == ["morph-2.png", "morph-2.gif"]
    assert names(start(overwrite=True).paths(*PAIR)) == ["morph.png", "morph.gif"]


def test_results_of_another_checkpoint_say_so(start):
    assert names(start(checkpoint="best.pt").paths(*PAIR)) == ["morph_best.png", "morph_best.gif"]
    assert start(checkpoint="best.pt").folder("many").name == "many_best"


@pytest.mark.parametrize(
    ("parts", "stem"),
    [
        (("samples", "", "class7"), "samples_class7"),
        (("samples", "temperature0.8"), "samples_temperature0.8"),
        (("x", '../a\\b:c*d?"e"<f>|g\n'), "x_a-b-c-d-e-f-g"),
        (("x", "...", "Ankle boot", "Cafe\u0301", "二", "caf\udce9"), "x_Ankle-boot_Café_二_caf"),
        (("x", "二" * 99), "x_" + "二" * 20),
    ],
)
def test_a_name_is_made_of_what_every_file_system_takes(parts, stem):
    assert module.file_stem(*parts) == stem


def test_two_commands_at_once_get_names_of_their_own(start, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        claimed = [path for paths in pool.map(lambda _: start().paths(*PAIR), range(40)) for path in paths]
    assert len(set(claimed)) == 80 and all(path.exists() for path in claimed)
    assert all(png.stem == gif.stem for png, gif in zip(claimed[::2], claimed[1::2], strict=True))


def test_a_command_that_fails_leaves_no_empty_file_or_folder(start, tmp_path):
    with pytest.raises(KeyboardInterrupt), start() as session:
        session.paths(*PAIR)
        session.folder("many")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), start() as session:
        session.paths(*PAIR)[0].write_text("written before the interrupt")
        raise KeyboardInterrupt
    assert names((tmp_path / "sample").iterdir()) == ["morph.png"]


def test_output_may_be_a_folder_or_a_file_that_names_the_others(start):
    for output, expected in {
        "new": ["new/morph.png", "new/morph.gif"],
        "v1.0/": ["v1.0/morph.png", "v1.0/morph.gif"],
        "a.GIF": ["a.png", "a.GIF"],
    }.items():
        assert start(output=output).paths(*PAIR) == [Path(name) for name in expected]
    with pytest.raises(UsageError, match=r"a file ending in \.png or \.gif"):
        start(output="a.jpg").paths(*PAIR)
    with pytest.raises(UsageError, match="give a folder"):
        start(output="a.pt").paths("a.pt", "b.pt")


def test_an_existing_file_is_refused_unless_overwritten(start):
    Path("a.png").write_text("precious")
    for output in ("a.png", "a.gif"):
        with start(output=output) as session, pytest.raises(UsageError, match=r"a\.png exists: choose another"):
            session.paths(*PAIR)
    assert names(Path().iterdir()) == ["a.png"]
    Path("link.png").symlink_to("a.png")
    with start(output="link.png") as session, pytest.raises(UsageError, match=r"link\.png exists"):
        session.paths("x.png")
    assert start(output="a.png", overwrite=True).paths(*PAIR)[0] == Path("a.png")
    with pytest.raises(FileError, match="can't make"):
        start(output="a.png/x/").paths(*PAIR)
    assert Path("a.png").read_text() == "precious"


def test_a_folder_of_many_files_is_numbered_or_must_be_empty(start, tmp_path):
    assert [start().folder("v0.8").name for _ in range(2)] == ["v0.8", "v0.8-2"]
    assert [start().folder("many").name for _ in range(2)] == ["many", "many-2"]
    many = tmp_path / "sample/many"
    assert start(output=str(many)).folder("many") == many
    (many / "x").touch()
    with pytest.raises(UsageError, match="is not empty"):
        start(output=str(many)).folder("many")
    assert start(output=str(many), overwrite=True).folder("many") == many
    with pytest.raises(UsageError, match="x is a file: choose another"):
        start(output=str(many / "x"), overwrite=True).folder("many")


def test_a_command_s_own_folder_that_is_a_link_is_refused(start, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sample").symlink_to(tmp_path / "elsewhere")
    for reserve in (lambda session: session.paths(*PAIR), lambda session: session.folder("many")):
        for overwrite in (False, True):
            with pytest.raises(FileError, match=r"sample is a link to .*elsewhere: remove it"):
                reserve(start(overwrite=overwrite))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert start(output="sample").paths(*PAIR)[0].parent == Path("sample")  # named by the person


def test_a_folder_of_results_that_is_a_link_is_not_replaced(start, tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/many").symlink_to(tmp_path)
    with pytest.raises(FileError, match="many is a link to"):
        start(overwrite=True).folder("many")
