"""The package: one source of its version and its dependencies, and a wheel that brings all that it needs."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from small_runs import QUICK, ROOT

import vae
from vae.system.machine import git_commit
from vae.system.program import PROGRAM, name_of

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


def requirements(name):
    """The lines of a file of requirements, without comments and references to others."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-r")]


def test_version_and_dependencies_have_one_source():
    project, dynamic = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]["dynamic"]
    assert set(project["dynamic"]) == {"version", "dependencies", "optional-dependencies"}
    assert not {"version", "dependencies", "optional-dependencies"} & set(project)
    assert dynamic["version"] == {"attr": "vae.__version__"} and re.fullmatch(r"\d+\.\d+\.\d+", vae.__version__)
    assert dynamic["dependencies"] == {"file": "requirements.txt"} and "pyyaml>=6.0" in requirements("requirements.txt")
    assert dynamic["optional-dependencies"] == {"export": {"file": "requirements-export.txt"}}
    development = (ROOT / "requirements-dev.txt").read_text()
    assert "-r requirements.txt\n-r requirements-export.txt\n" in development


def test_every_requirement_has_a_lower_bound():
    for name in ("requirements.txt", "requirements-export.txt", "requirements-dev.txt"):
        assert all(re.fullmatch(r"[\w-]+>=[\d.]+", line, re.ASCII) for line in requirements(name)), name


def test_the_program_is_called_as_it_was_started(tmp_path):
    assert PROGRAM == "python main.py"
    checkout, installed = ROOT / "vae", tmp_path / "site-packages" / "vae"
    for started, in_checkout, elsewhere in (
        ("main.py", "python main.py", "vae"),
        ("/x/bin/vae", "vae", "vae"),
        (r"vae.exe", "vae", "vae"),
        ("/x/site-packages/vae/__main__.py", "python -m vae", "python -m vae"),
        ("/x/bin/pytest", "python main.py", "vae"),  # imported by another program
        ("", "python main.py", "vae"),
    ):
        assert (name_of(started, checkout), name_of(started, installed)) == (in_checkout, elsewhere), started


@pytest.mark.parametrize("code", [0, 130])
def test_the_program_ends_with_its_code_and_without_collecting_what_is_left(code):
    """Exit functions are called and output is flushed."""
    script = f"""
import atexit, vae.__main__ as it
Left = type("Left", (), {{"__del__": lambda self: print("collected")}})
left = Left()
it.main = lambda: atexit.register(print, "called") and {code}
it.program()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "called\n", "")


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with a file and a commit, and beside the file one that git doesn't track."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "tracked.py").write_text("x = 1\n")
    git(tmp_path, "add", "tracked.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    (tmp_path / "installed.py").write_text("x = 1\n")
    return tmp_path


@needs_git
def test_the_commit_is_that_of_the_code_and_never_of_a_repository_around_it(repository, tmp_path_factory):
    commit = git(repository, "rev-parse", "HEAD")
    assert git_commit(repository / "tracked.py") == commit
    assert git_commit(repository / "installed.py") is None
    assert git_commit(tmp_path_factory.mktemp("elsewhere") / "x.py") is None
    (repository / "tracked.py").write_text("x = 2\n")
    assert git_commit(repository / "tracked.py") == f"{commit}+changes"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the checkout with all the folders at its top."""
    if not {"pip", "setuptools"} <= {distribution.name for distribution in distributions()}:
        pytest.skip("needs pip and setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    left_out = {"data", "outputs", "runs", "build", "dist"}
    for path in ROOT.iterdir():
        if path.is_dir() and path.name in left_out:
            (folder / "code" / path.name).mkdir(parents=True)
        elif path.is_dir() and not path.name.startswith("."):
            shutil.copytree(
                path, folder / "code" / path.name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        elif path.is_file():
            (folder / "code").mkdir(exist_ok=True)
            shutil.copy(path, folder / "code")
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", str(folder / "dist"), str(folder / "code")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_s_files_and_no_others(wheel):
    pytest.importorskip("setuptools")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        (metadata_path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(metadata_path))
        (entry_points,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert "vae = vae.__main__:program" in archive.read(entry_points).decode()
    files = {path for path in (ROOT / "vae").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert set(names) == {path.relative_to(ROOT).as_posix() for path in files}
    assert metadata["Version"] == vae.__version__

    required = [line.partition(";") for line in metadata.get_all("Requires-Dist")]
    plain = {name.replace(" ", "") for name, _, condition in required if not condition}
    extra = {name.replace(" ", "") for name, _, condition in required if "export" in condition}
    assert plain == set(requirements("requirements.txt")) and extra == set(requirements("requirements-export.txt"))


@pytest.mark.slow
@needs_git
def test_the_installed_program_trains_from_an_empty_folder_and_writes_only_there(wheel, repository):
    """In a fresh environment within somebody's repository; torch and the rest come from this one."""
    environment, work = repository / "venv", repository / "work"
    venv.create(environment)
    work.mkdir()
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    packages, programs = Path(paths["purelib"]), Path(paths["scripts"])
    (packages / "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    python = programs / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*install, "--disable-pip-version-check", "--quiet"], check=True)
    installed = {path: path.stat().st_mtime_ns for path in packages.rglob("*")}

    def run(*command):
        names = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV", "PYTEST"))}
        environ = {**names, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(list(map(str, command)), cwd=work, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    program = programs / "vae"
    assert Path(run(python, "-c", "import vae; print(vae.__file__)").strip()).is_relative_to(packages)
    assert run(program, "--version") == run(python, "-m", "vae", "--version") == f"vae-mnist {vae.__version__}\n"
    assert "  vae --num_epochs 60 " in run(program, "--help")
    run(program, *QUICK, "--num_epochs", "2", "--run_name", "x")
    page = (work / "outputs/x/report.html").read_text()
    for script in (ROOT / "vae" / "report" / "static").glob("*.js"):
        assert script.read_text().strip().splitlines()[-1] in page, script.name
    assert "vae --dataset digits" in page and "python main.py" not in page
    description = json.loads((work / "outputs/x/config.json").read_text())
    assert description["git_commit"] is None and description["versions"]["vae-mnist"] == vae.__version__
    assert "wrote outputs/x/" in run(program, "sample", "--device", "cpu")
    run(python, "-m", "vae", "report", "--device", "cpu")
    assert {path.name for path in work.iterdir()} <= {"outputs", "runs", "data"}
    assert {path: path.stat().st_mtime_ns for path in packages.rglob("*")} == installed
    failed = subprocess.run([program, "--no_such"], capture_output=True, text=True, cwd=work)
    assert failed.returncode == 2 and failed.stderr == "error: unknown flag --no_such (see vae --help all)\n"
