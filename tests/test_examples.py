"""The notebooks run from top to bottom, print what they claim, and are committed with their outputs."""

import ast
import importlib
import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURES = {"vae_from_scratch": 15, "walkthrough": 7}  # in the outputs, by notebook
TERMS = re.compile(r"(\d+\.\d+) = (\d+\.\d+) \+ (\d+\.\d+)")  # minus the ELBO, recon, kl
NUMBER = re.compile(r"-?\d+\.\d+")
LOWEST_RECON = 45.53  # nats: the mean entropy of the grey test images of MNIST

each_notebook = pytest.mark.parametrize("name", PICTURES)


def path_of(name):
    return ROOT / "examples" / f"{name}.ipynb"


def read(name):
    nbformat = pytest.importorskip("nbformat", reason="the notebooks need requirements-dev.txt")
    return nbformat.read(path_of(name), as_version=4)


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def code_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def solutions_of(notebook):
    """The code of the folded solutions."""
    folded = [part for cell in notebook.cells for part in re.findall("<details>.*?</details>", cell.source, re.DOTALL)]
    return [code for part in folded for code in re.findall(r"```python\n(.*?)```", part, re.DOTALL)]


def printed(notebook):
    return "".join(output.text for output in outputs_of(notebook) if output.output_type == "stream")


def terms(text, label):
    """(-ELBO, recon, kl) in the line that contains `label`."""
    (line,) = [line for line in text.splitlines() if label in line]
    return tuple(map(float, TERMS.findall(line)[-1]))


def epochs(text):
    """The terms of the test images by epoch of every training, in order."""
    trainings = []
    for epoch, line in re.findall(r"^epoch +(\d+)  (.*)$", text, re.MULTILINE):
        if epoch == "1":
            trainings.append([])
        trainings[-1].append(tuple(map(float, TERMS.findall(line)[1])))
    return trainings


@each_notebook
def test_a_notebook_is_committed_as_it_ran_from_top_to_bottom(name):
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = outputs_of(notebook)
    assert all(output.output_type == "display_data" or output.get("name") == "stdout" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == PICTURES[name]
    assert "FAST = False" in code_of(notebook)


@each_notebook
def test_a_committed_notebook_is_small_and_says_nothing_of_the_machine_it_ran_on(name):
    text = path_of(name).read_text("utf-8")
    assert len(text) < 2_000_000
    notebook = json.loads(text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt|opt|usr)/", json.dumps(notebook))


@each_notebook
def test_a_notebook_takes_only_public_names_from_the_package(name):
    taken = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse("\n".join([code_of(read(name)), *solutions_of(read(name))])))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "vae"
        for alias in node.names
    ]
    assert taken
    for place, taken_name in taken:
        module = importlib.import_module(place)
        assert taken_name in module.__all__, f"{place}.{taken_name}"
        assert hasattr(module, taken_name)


def test_both_notebooks_draw_with_the_same_function():
    sources = set()
    for name in PICTURES:
        tree = ast.parse(code_of(read(name)))
        sources |= {
            ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "show"
        }
    assert len(sources) == 1


def check_what_the_course_claims(text):
    """Hold what the notebook prints against what its text says, on any data."""
    assert "a direct draw has a gradient: False" in text
    for estimate, exact in re.findall(r"^d/d \w+ +(\S+), exactly (\S+)$", text, re.MULTILINE):
        assert float(estimate) == pytest.approx(float(exact), abs=0.02)
    (exact,) = NUMBER.findall(re.search("closed form.*", text)[0])
    estimate, error = NUMBER.findall(re.search("Monte Carlo.*", text)[0])
    assert float(estimate) == pytest.approx(float(exact), abs=4 * float(error))
    assert terms(text, "our weights, package's score") == pytest.approx(terms(text, "our weights, our score"), abs=0.02)
    assert "beta 784: 0 of 20 latents are active" in text
    first, flat, *by_beta, collapsed, conditional = epochs(text)[:7]
    assert (len(first), len(flat), len(conditional)) == (20, 5, 4)
    assert first[-1][0] < first[4][0] < first[0][0]
    assert first[-1] == pytest.approx(terms(text, "trained by this notebook"))
    recons, kls = zip(*(training[-1][1:] for training in by_beta), strict=True)
    assert sorted(recons) == list(recons)
    assert kls[0] > 1.5 * kls[1] > 3 * kls[2] > 3
    assert collapsed[-1][2] < 0.1
    assert flat[-1][0] > first[-1][0]
    assert conditional[-1][0] < first[3][0]


def test_the_stored_figures_of_the_course_are_plausible():
    text = printed(read("vae_from_scratch"))
    check_what_the_course_claims(text)
    assert "MNIST: 60,000 training images, 10,000 test images" in text
    first, flat, *by_beta, _, _ = epochs(text)
    assert all(recon > LOWEST_RECON for training in epochs(text) for _, recon, _ in training)
    assert 99 < first[-1][0] < 103
    assert first[-1][0] == pytest.approx(terms(text, "trained by the package")[0], abs=2)
    assert flat[-1][0] > first[4][0] + 40
    assert min(by_beta, key=lambda training: training[-1][0]) == by_beta[1]
    model, mean_image = map(float, NUMBER.findall(re.search("recon of the collapsed model.*", text)[0]))
    assert model == pytest.approx(mean_image, abs=3)


def run_fast(name, folder, *, start, more=()):
    """Run a notebook on the digits from `start` in a copy of the repository; code in `more` is run after it."""
    client = pytest.importorskip("nbclient", reason="the notebooks need requirements-dev.txt")
    from nbformat.v4 import new_code_cell

    clone = folder / "a clone"  # its path has a space
    shutil.copytree(ROOT / "vae", clone / "vae", ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "examples").mkdir()
    notebook = read(name)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = "FAST = True"
    notebook.cells += [new_code_cell(code) for code in more]
    resources = {"metadata": {"path": str(clone / start)}}
    client.NotebookClient(notebook, timeout=300, resources=resources).execute()
    written = {path.name for path in clone.iterdir()} - {"data"}
    assert written == {"vae", "examples", "outputs", "runs"}
    assert list(folder.iterdir()) == [clone]
    return notebook


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the kernel's client warns of its own matters
def test_the_course_and_its_solutions_run_from_top_to_bottom(tmp_path):
    solutions = solutions_of(read("vae_from_scratch"))
    assert len(solutions) == 5
    notebook = run_fast("vae_from_scratch", tmp_path, start=".", more=solutions)
    text = printed(notebook)
    check_what_the_course_claims(text)
    assert (tmp_path / "a clone" / "examples" / "samples.png").stat().st_size > 1000
    floor, recon = map(float, NUMBER.findall(re.search("the lowest recon.*", text)[0]))
    assert floor < recon
    bounds = [float(bound) for bound in re.findall(r"^K = .*: (\S+) nats$", text, re.MULTILINE)]
    assert bounds == sorted(bounds, reverse=True)
    (through_sample, score_function) = re.findall(r"mean (\S+) \(exactly 1\), standard deviation (\S+)", text)
    assert float(through_sample[0]) == pytest.approx(1, abs=0.05)
    assert float(score_function[0]) == pytest.approx(1, abs=0.1)
    assert float(score_function[1]) > float(through_sample[1])
    assert (
        sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))
        == PICTURES["vae_from_scratch"] + 1
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_walkthrough_runs_from_top_to_bottom(tmp_path):
    notebook = run_fast("walkthrough", tmp_path, start="examples")
    text = printed(notebook)
    minus_elbo, nll = map(float, re.search(r"−ELBO (\S+), −log p\(x\) at most about (\S+) nats", text).groups())
    assert nll < minus_elbo
    assert sum("image/png" in output.get("data", {}) for output in outputs_of(notebook)) == PICTURES["walkthrough"]
