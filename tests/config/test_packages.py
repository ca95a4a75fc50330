"""Packages are looked for before anything is imported or made."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_runs import ROOT, run_main
from test_layout import FILES, imports

from main import main
from vae.config.options import COMMANDS, ModelOptions
from vae.config.packages import TRAINING, packages_of
from vae.data import datasets
from vae.system import extras


@pytest.fixture
def lack(monkeypatch):
    """Let packages be missing, by the names of their modules."""

    def lack(*modules):
        monkeypatch.setattr(extras, "find_spec", lambda name: None if name in modules else find_spec(name))

    return lack


def test_all_that_a_run_lacks_is_named_in_one_line_before_anything_is_made(tmp_path, capsys, lack):
    lack("sklearn", "tensorboard", "tqdm")
    assert run_main(tmp_path, "--num_epochs", "1") == 1
    names = ("tqdm", "scikit-learn", "tensorboard")
    assert capsys.readouterr().err == f"error: training needs {' and '.join(names)}: pip install {' '.join(names)}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("list", "tqdm"),
        ("list", "filelock"),
        ("sample", "matplotlib"),
        ("compare a b", "jinja2"),
        ("embed", "sklearn"),
        ("embed", "scipy"),
        ("evaluate", "scipy"),
        ("export", "filelock"),
    ],
)
def test_what_a_command_lacks_is_named_in_one_line(capsys, lack, line, module):
    lack(module)
    assert main(line.split()) == 1
    package = {"sklearn": "scikit-learn"}.get(module, module)
    assert capsys.readouterr().err == f"error: {line.split()[0]} needs {package}: pip install {package}\n"


def test_the_digits_without_what_their_loader_imports_get_one_line(lack):
    lack("scipy")
    with pytest.raises(extras.MissingPackageError, match=r"^--dataset digits needs scipy: pip install scipy$"):
        datasets.load_splits("digits", Path())


def test_a_file_of_flags_without_its_reader_gets_one_line(tmp_path, capsys, lack):
    lack("yaml")
    (tmp_path / "flags.yaml").write_text("lr: 0.1\n")
    assert main(["--config", str(tmp_path / "flags.yaml")]) == 1
    assert capsys.readouterr().err == "error: --config needs pyyaml: pip install pyyaml\n"


def test_looking_for_a_package_does_not_import_it(tmp_path, monkeypatch):
    (tmp_path / "explosive.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    extras.require("a test", "explosive")
    assert "explosive" not in sys.modules


def needed_at_start(module):
    """The packages whose modules come with a module of ours, by reading what files import at their top."""
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    seen, packages, waiting = set(), set(), [module]
    while waiting:
        name = waiting.pop()
        owner = name if name in paths else name.rpartition(".")[0]
        if owner in paths and owner not in seen:
            seen.add(owner)
            waiting += imports(paths[owner], anywhere=False)
        elif not name.startswith("vae"):
            packages |= {"tensorboard"} if "tensorboard" in name else {name.partition(".")[0]}
    return packages - sys.stdlib_module_names


@pytest.mark.parametrize("name", ["training", *COMMANDS])
def test_whatever_is_imported_at_the_start_was_looked_for(name):
    if name == "training":
        declared, modules = TRAINING, ["vae.runs.launch"]
    else:
        options = COMMANDS[name](**({"runs": ("a", "b")} if name == "compare" else {}))
        declared = packages_of(options)
        modules = [f"vae.commands.{name}"] + ["vae.commands.session"] * isinstance(options, ModelOptions)
    needed = set().union(*map(needed_at_start, modules), {"tqdm"})
    assert needed <= {extras.MODULES.get(package, package) for package in declared}
    assert "scikit-learn" not in declared or "scipy" in declared  # which it imports
    assert len(needed) == 1 or needed >= {"torch", "matplotlib"}
