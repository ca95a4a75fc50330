"""Links, commands, snippets, tables and names in the pages, held against the code and the measurements."""

import contextlib
import dataclasses
import json
import re
import runpy
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image
from small_runs import ROOT

import vae
from vae.config import cli
from vae.config.config import Config
from vae.config.options import COMMANDS, ModelOptions
from vae.config.parsers import build_parser
from vae.config.presets import PRESETS, configure
from vae.runs.launch import RESUMABLE
from vae.runs.tracking import MINUS_ELBO, TAGS
from vae.system.errors import UsageError

NAMES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in sorted(NAMES)}
README = TEXTS["README.md"]
ROOMS = sorted(path.name for path in (ROOT / "vae").iterdir() if path.is_dir() and path.name != "__pycache__")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"--[a-z][a-z_]*[a-z]")
OTHERS_FLAGS = {"--logdir", "--standalone", "--nproc_per_node", "--first", "--n", "--write"}  # of other programs
OTHERS_FLAGS |= {"--nnodes", "--max_restarts", "--rdzv_backend", "--rdzv_id", "--rdzv_endpoint"}

each_page = pytest.mark.parametrize("page", TEXTS)


def prose(text):
    """A page without its code blocks."""
    return FENCE.sub("", text)


def blocks(text, language):
    return [code for kind, code in FENCE.findall(text) if kind == language]


def anchors(text):
    """The fragments that GitHub gives a page's headings."""
    slugs = []
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        slugs.append(slug if slug not in slugs else f"{slug}-{slugs.count(slug)}")
    return slugs


def command_lines(text):
    """Every shell command in a page's code blocks, and those of Python in its prose, as words."""
    lines = [line for code in blocks(text, "bash") for line in code.splitlines()]
    lines += re.findall(r"`((?:python|torchrun|vae) [^`]+)`", prose(text))
    for line in lines:
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


def parse(argv):
    """Parse a command line as main.py does; `--help` and `--list_presets` leave with 0."""
    with contextlib.suppress(SystemExit):
        if cli.parse_command(argv) is None:
            cli.parse_args(argv)


def flags_of(knobs):
    return {f"--{field.name}" for field in dataclasses.fields(knobs) if not field.metadata["positional"]}


def rows(text, heading):
    """The cells of the first table below a heading, without its head."""
    section = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


@each_page
def test_relative_links_lead_somewhere(page):
    found = re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[page])) + re.findall(r'src="([^"]+)"', TEXTS[page])
    for link in found:
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_every_page_and_every_picture_is_linked():
    links = {
        ((ROOT / page).parent / link.partition("#")[0]).resolve()
        for page, text in TEXTS.items()
        for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    }
    pictures, notebooks = (ROOT / "outputs" / "gallery").iterdir(), (ROOT / "examples").glob("*.ipynb")
    for path in [*(ROOT / "docs").glob("*.md"), *pictures, *notebooks]:
        assert path.resolve() in links, path


@each_page
def test_commands_parse(page, beside_a_run, capsys):
    for words in command_lines(TEXTS[page]):
        if "main.py" in words and "COMMAND" not in words:
            parse(words[words.index("main.py") + 1 :])
        elif words[0] == "vae" or words[:3] == ["python", "-m", "vae"]:
            parse(words[words.index("vae") + 1 :])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), words


def test_the_pages_show_many_commands_and_a_wrong_one_would_be_found():
    assert sum("main.py" in words for text in TEXTS.values() for words in command_lines(text)) > 40
    (words,) = command_lines("```bash\npython main.py sample --digits 7  # no such flag\n```")
    with pytest.raises(UsageError, match="--digits"):
        parse(words[2:])


@each_page
def test_flags_exist(page):
    known = set(build_parser()._option_string_actions).union(*map(flags_of, COMMANDS.values())) | OTHERS_FLAGS
    assert set(FLAG.findall(TEXTS[page])) <= known


@pytest.fixture
def beside_a_run(finished_run, tmp_path, monkeypatch):
    """A checkout in which someone has trained a model and has a picture of their own."""
    shutil.copytree(finished_run / "outputs", tmp_path / "outputs", symlinks=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ink = np.full((40, 40), 255, np.uint8)
    ink[8:32, 18:23] = 0
    Image.fromarray(ink).save(tmp_path / "me.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if blocks(text, "python")])
def test_snippets_run_and_give_the_shapes_they_promise(page, beside_a_run):
    names, promised = {}, 0
    for code in blocks(TEXTS[page], "python"):
        exec(compile(code, page, "exec"), names)
        for targets, comment in re.findall(r"^(\w+(?:, \w+)*) = .*  # (\(\d.*)$", code, re.MULTILINE):
            shapes = re.findall(r"\(([\d, ]+)\)", comment.replace("10000", "360"))  # test images: MNIST's, the digits'
            for target, shape in zip(targets.split(", "), shapes, strict=False):
                assert tuple(names[target].shape) == tuple(map(int, shape.strip(", ").split(","))), target
                promised += 1
    assert promised >= 2


def test_the_pages_keep_the_snippets_that_others_build_on():
    code = "\n".join(code for text in TEXTS.values() for code in blocks(text, "python"))
    for line in (
        "from vae import interpolate, load_model",
        "from vae import open_run",
    ):
        assert line in code


def test_the_readme_is_short_and_has_its_two_commands():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1300
    lines = [line for code in blocks(README, "bash") for line in code.splitlines()]
    assert "pip install -r requirements.txt && python main.py --num_epochs 60" in lines
    assert "pip install -r requirements-dev.txt && pytest" in lines


def test_figures_in_the_readme_are_the_measured_ones():
    measured = TEXTS["docs/results.md"] + TEXTS["docs/likelihoods.md"]
    figures = re.findall(r"\d+\.\d+ ± \d+\.\d+", README)
    assert len(figures) >= 4
    assert all(figure in measured for figure in figures)
    (ours, plain) = re.search(r"(\d\.\d\d) against (\d\.\d\d) s per epoch", README).groups()
    speeds = {cells[1]: cells[2] for cells in rows(TEXTS["docs/speed.md"], "# Speed") if "`mlp-2d`" in cells[0]}
    assert (speeds["ours"], speeds["plain"]) == (ours, plain)
    assert f"**{float(plain) / float(ours):.1f} times as fast**" in README


def test_generated_tables_are_those_of_the_measurements(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    results, speed = (runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py")) for name in ("results", "throughput"))
    entries, timed = (
        json.loads((ROOT / "benchmarks" / f"{name}.json").read_text()) for name in ("results", "throughput")
    )
    records = [entry for entry in entries if entry["preset"] in results["SCORED"]]
    assert results["table"]([entry for entry in entries if entry not in records]) in TEXTS["docs/results.md"]
    assert results["likelihood_table"](records) in TEXTS["docs/likelihoods.md"]
    assert f"{speed['table'](timed)}\n\n{speed['verdicts'](timed)}" in TEXTS["docs/speed.md"]
    scale = runpy.run_path(str(ROOT / "benchmarks" / "scale_model.py"))
    assert scale["rewritten"](TEXTS["docs/scale.md"]) == TEXTS["docs/scale.md"], "run benchmarks/scale_model.py --write"


def test_tables_of_flags_are_those_of_the_knobs():
    tables = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    for page in ("docs/options.md", "docs/commands.md"):
        assert tables["rewritten"](TEXTS[page]) == TEXTS[page], "run `make docs` and commit what it writes"
    listed = set(re.findall(r"^\| `(--\w+)`", TEXTS["docs/options.md"], re.MULTILINE))
    assert listed == flags_of(Config)
    for name, command in COMMANDS.items():
        section = TEXTS["docs/commands.md"].partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        shared = TEXTS["docs/commands.md"].partition("\n## Flags of every command\n")[2].partition("\n## ")[0]
        of_all, of_models = shared.split("\nAll but ")
        shared = of_all + of_models if issubclass(command, ModelOptions) else of_all
        assert flags_of(command) == set(re.findall(r"^\| `(--\w+)`", section + shared, re.MULTILINE)), name


def preset_row(name):
    """What the README's table should say of a preset."""
    config = configure({"preset": name})
    if config.arch == "conv":
        nets = f"4 convolutions, {config.base_channels} channels"
    elif config.block == "residual":
        nets = f"{len(config.hidden_dims)} residual blocks of {config.hidden_dims[0]}"
    else:
        nets = "-".join(map(str, (784, *config.hidden_dims)))
    nets += ", a mixer block" if config.arch == "mixer" else ""
    nets += ", RealNVP prior" if config.prior == "flow" else ""
    loss = {"bce": "BCE + KL", "mse": "squared error + KL"}[config.recon_loss]
    if config.binarize == "dynamic":
        loss = {"dreg": "DReG bound, binary pixels", "elbo": "ELBO, binary pixels"}[config.objective]
    loss += ", patches as mixtures" if config.mixture_components > 1 else ""
    lr = f"{config.lr:.0e}".replace("e-0", "e-")
    optimizer = f"{ {'adam': 'Adam', 'adamw': 'AdamW'}[config.optimizer] } {lr}"
    optimizer += ", cosine" if config.lr_schedule == "cosine" else ""
    title = f"`{name}`" + (" (default)" if name == Config().preset else "")
    return [title, nets, str(config.latent_dim), loss, optimizer, f"{config.batch_size}, {config.num_epochs}"]


def test_the_readme_shows_the_presets_as_they_are():
    assert rows(README, "## Presets") == [preset_row(name) for name in PRESETS]


def test_the_flags_that_a_resumed_run_takes_are_listed():
    listed = TEXTS["docs/options.md"].partition("except for ")[2].partition(". ")[0]
    assert set(FLAG.findall(listed)) == {f"--{name}" for name in RESUMABLE}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_named(room):
    assert f"`vae/{room}/`" in README
    table = {cells[0]: cells[2] for cells in rows(TEXTS["docs/architecture.md"], "## The ten rooms")}
    files = re.findall(r"`(\w+\.py)`", table[f"`{room}/`"])
    assert files
    assert all((ROOT / "vae" / room / file).is_file() for file in files)


@each_page
def test_files_that_are_mentioned_exist(page):
    for path in re.findall(r"(?<![\w/.])(?:vae|tests|benchmarks|docs|examples)/[\w./-]*\w", TEXTS[page]):
        assert (ROOT / path).exists(), path


@each_page
def test_names_stand_where_the_pages_say(page):
    text = re.sub(r"\s+", " ", prose(TEXTS[page]))
    for name, file in re.findall(r"`([A-Za-z_][\w.]*)`(?: \w+){0,2} \(?`(vae/[\w/]+\.py)`", text):
        code = (ROOT / file).read_text("utf-8")
        assert all(re.search(rf"\b{part}\b", code) for part in name.split(".")), f"{name} in {file}"


def test_what_takes_the_place_of_a_script_s_files_and_columns_is_there(finished_run):
    page = prose(TEXTS["docs/coming-from.md"])
    files = set(re.findall(r"`outputs/<run_name>/([^`]+)`", page))
    assert len(files) >= 8
    for name in files:
        assert list((finished_run / "outputs/whole").glob(name.replace("NNN", "[0-9][0-9][0-9]"))), name
    columns = json.loads((finished_run / "outputs/whole/metrics.jsonl").read_text().splitlines()[-1])
    assert set(re.findall(r"`((?:train|test)/\w+)`", page)) <= set(columns)
    assert set(re.findall(r"`((?:losses|training)/[-\w]+)`", page)) <= {*TAGS.values(), MINUS_ELBO}


def test_the_citation_has_the_packages_version():
    assert f"\nversion: {vae.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{vae.__version__}]" in TEXTS["CHANGELOG.md"]
