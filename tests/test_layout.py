"""The rooms and the line that they stand in, held against the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A file imports only from its own room and from rooms before it.
ROOMS = ("system", "config", "data", "model", "evaluation", "training", "plots", "report", "runs", "commands")
FILES = sorted((ROOT / "vae").glob("*/*.py"))
# Who may import what is heavy, as rooms or files; everyone else may not.
OWNERS = {
    "argparse": {"config/cli"},
    "matplotlib": {"plots"},
    "sklearn": {"data/datasets", "evaluation/latents"},
    "tensorboard": {"runs/tracking"},
    "torchvision": {"data/download"},
    "tqdm": {"system/console"},
}
WITHOUT_TORCH = ("config", "commands/__init__", "system/__init__", "system/errors", "system/files", "system/stopping")


def imports(path):
    """Dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
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
    assert {parts[1] for parts in names if parts[0] == "vae" and len(parts) > 1} <= set(allowed)
    for package, owners in OWNERS.items():
        if any(package in parts for parts in names):
            assert path.parent.name in owners or place(path) in owners, f"{package} belongs to {owners}"


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


@pytest.mark.parametrize("start", WITHOUT_TORCH)
def test_what_help_needs_imports_no_torch(start):
    for path in FILES:
        if place(path).startswith(start):
            top = {name.split(".")[0] for name in top_level_imports(path)}
            assert not top & {"torch", "numpy", "matplotlib"}, path


def top_level_imports(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_file_stands_in_a_room_and_main_is_short():
    assert {path.name for path in (ROOT / "vae").glob("*.py")} == {"__init__.py"}
    assert {path.name for path in (ROOT / "vae").iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)
    assert len((ROOT / "main.py").read_text().splitlines()) <= 30
