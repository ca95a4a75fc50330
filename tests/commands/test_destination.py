import pytest

from vae.commands.destination import choose, choose_folder
from vae.system.errors import UsageError
from vae.system.files import FileError

PAIR = ("morph.png", "morph.gif")


def names(paths):
    return [path.name for path in paths]


def test_files_of_one_result_share_the_next_free_number(tmp_path):
    assert names(choose(PAIR, default=tmp_path / "x")) == ["morph.png", "morph.gif"]
    (tmp_path / "x/morph.gif").touch()
    assert names(choose(PAIR, default=tmp_path / "x")) == ["morph-2.png", "morph-2.gif"]
    assert names(choose(PAIR, default=tmp_path / "x", overwrite=True)) == ["morph.png", "morph.gif"]


def test_output_may_be_a_folder_or_a_file_that_names_the_others(tmp_path):
    assert choose(PAIR, default=tmp_path, output=f"{tmp_path}/new") == [tmp_path / "new" / name for name in PAIR]
    assert choose(PAIR, default=tmp_path, output=f"{tmp_path}/v1.0/") == [tmp_path / "v1.0" / name for name in PAIR]
    assert names(choose(PAIR, default=tmp_path, output=f"{tmp_path}/a.GIF")) == ["a.png", "a.GIF"]
    with pytest.raises(UsageError, match=r"a file ending in \.png or \.gif"):
        choose(PAIR, default=tmp_path, output=f"{tmp_path}/a.jpg")
    with pytest.raises(UsageError, match="give a folder"):
        choose(("a.pt", "b.pt"), default=tmp_path, output=f"{tmp_path}/a.pt")


def test_what_is_there_is_refused_unless_overwritten(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/morph.png").mkdir()
    for output in ("a.png", "a.gif"):
        with pytest.raises(UsageError, match=r"a\.png is there already"):
            choose(PAIR, default=tmp_path, output=str(tmp_path / output))
    assert choose(PAIR, default=tmp_path, output=f"{tmp_path}/a.png", overwrite=True)[0] == tmp_path / "a.png"
    with pytest.raises(UsageError, match="is a folder"):
        choose(PAIR, default=tmp_path, output=f"{tmp_path}/dir", overwrite=True)
    with pytest.raises(FileError, match="can't make"):
        choose(PAIR, default=tmp_path / "a.png" / "x", overwrite=True)


def test_a_folder_of_many_files_is_numbered_or_refused(tmp_path):
    assert choose_folder("many", default=tmp_path) == tmp_path / "many"
    assert choose_folder("many", default=tmp_path) == tmp_path / "many-2"
    assert choose_folder("many", default=tmp_path, output=f"{tmp_path}/many") == tmp_path / "many"  # empty
    (tmp_path / "many/x").touch()
    with pytest.raises(UsageError, match="holds files already"):
        choose_folder("many", default=tmp_path, output=f"{tmp_path}/many")
    assert choose_folder("many", default=tmp_path, output=f"{tmp_path}/many", overwrite=True) == tmp_path / "many"
    with pytest.raises(UsageError, match="is a file"):
        choose_folder("many", default=tmp_path, output=f"{tmp_path}/many/x", overwrite=True)
