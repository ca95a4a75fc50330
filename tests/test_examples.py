"""The notebook runs from top to bottom, and what is committed has its outputs."""

import ast
import inspect
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "walkthrough.ipynb"


def read():
    nbformat = pytest.importorskip("nbformat", reason="the walkthrough needs requirements-dev.txt")
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_walkthrough_is_committed_with_its_pictures_and_without_errors():
    outputs = [output for cell in read().cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
    assert not any(output.output_type == "error" for output in outputs)


def test_what_the_walkthrough_takes_from_the_package_is_there():
    code = "\n".join(cell.source for cell in read().cells if cell.cell_type == "code")
    modules: dict[str, object] = {}
    uses = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vae":
            exec(ast.unparse(node), modules)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            uses.append((node.value.id, node.attr))
    used = [(name, attribute) for name, attribute in uses if inspect.ismodule(modules.get(name))]
    assert {name for name, _ in used} >= {"charts", "figures"}
    assert all(hasattr(modules[name], attribute) for name, attribute in used)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the kernel's client warns of its own matters
def test_the_walkthrough_runs_from_top_to_bottom():
    client = pytest.importorskip("nbclient", reason="the walkthrough needs requirements-dev.txt")
    notebook = read()
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = 'dataset, num_epochs = "digits", 2'
    client.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    printed = [
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text" in output
    ]
    assert any("epoch 2: train" in text for text in printed)
