"""The rooms and the line that they stand in, held against the imports; and CI, held against the README."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A file imports only from its own room and from rooms before it.
ROOMS = ("system", "config", "data", "model", "evaluation", "training", "plots", "report", "runs", "commands")
FILES = sorted((ROOT / "vae").glob("*/*.py"))
# The only rooms or files that may import these packages.
OWNERS = {
    "argparse": {"config/parsers", "config/cli"},
    "jinja2": {"report"},
    "matplotlib": {"plots"},
    "sklearn": {"data/datasets", "evaluation/latents"},
    "tensorboard": {"runs/tracking"},
    "tqdm": {"system/console"},
    "yaml": {"config/flag_file"},
}
WITHOUT_TORCH = ("config", "commands/__init__", "system/__init__", "system/errors", "system/files", "system/stopping")


def imports(path, *, anywhere=True):
    """Dotted names that a file imports: anywhere in it, or at its top level only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(path):
    return str(path.relative_to(ROOT / "vae").with_suffix(""))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_imports_only_what_its_room_allows(path):
    names = [name.split(".") for name in imports(path)]
    allowed = ROOMS[: ROOMS.index(path.parent.name) + 1]
    assert {parts[1] for parts in names if parts[0] == "vae" and len(parts) > 1} <= {*allowed, "__version__"}
    for package, owners in OWNERS.items():
        if any(package in parts for parts in names):
            assert {path.parent.name, place(path)} & owners, f"{package} belongs to {owners}"
    if place(path).startswith(WITHOUT_TORCH):  # what `--help` imports
        top_level = {name.split(".")[0] for name in imports(path, anywhere=False)}
        assert not top_level & {"torch", "numpy", "matplotlib"}


def test_no_two_files_import_each_other():
    modules = {f"vae.{place(path).replace('/', '.')}": path for path in FILES if path.stem != "__init__"}
    arrows = {
        (module, target)
        for module, path in modules.items()
        for name in imports(path)
        for target in (name, name.rpartition(".")[0])
        if target in modules and target != module
    }
    assert arrows
    assert not {(a, b) for a, b in arrows if (b, a) in arrows}


def test_every_file_stands_in_a_room_and_main_is_short():
    assert {path.name for path in (ROOT / "vae").glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.name for path in (ROOT / "vae").iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)
    assert set((ROOT / "vae").rglob("*.py")) == {*FILES, *(ROOT / "vae").glob("*.py")}  # templates hold no Python
    assert len((ROOT / "main.py").read_text().splitlines()) <= 10


def test_ci_runs_the_readme_s_command_and_then_what_it_leaves_out():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -m1 -E '(.+?)' README\.md", script)[1]
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if re.search(pattern, line)]
    assert lines[:1] == ["pip install -r requirements-dev.txt && pytest"]
    assert re.search(r"^pytest -m slow ", script, re.MULTILINE)
    assert "-m 'not slow'" in (ROOT / "pyproject.toml").read_text()
