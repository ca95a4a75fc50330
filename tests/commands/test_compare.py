import json
import re
import shutil

import pytest
from html_tags import Tags
from PIL import Image
from recorded_runs import record_run
from small_runs import run_main

from main import main

FILES = ["comparison.html", "comparison.json", "curves.png", "samples.png"]
HOSTILE = "</script><img src=x onerror=alert(1)> {{data}} & \u202e"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Root of two seeds named `g`, and a binary run of one epoch more, named `dyn`."""
    root = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae.runs.run.finish", lambda *args, **kwargs: None)
        flags = ["--sample_every", "0", "--quiet"]
        assert run_main(root, *flags, "--num_epochs", "2", "--seeds", "0", "1", "--run_name", "g") == 0
        assert run_main(root, *flags, "--num_epochs", "3", "--binarize", "dynamic", "--run_name", "dyn") == 0
    return root


@pytest.fixture
def beside(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.pictures
def test_it_writes_pictures_figures_and_a_page_and_never_over_earlier_ones(beside, capsys):
    assert main(["compare", "--all"]) == 0
    folder = beside / "outputs" / "comparison"
    assert names(folder) == FILES
    for name in ("curves.png", "samples.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 500
    out = capsys.readouterr().out
    assert "±" in out and "binarize" in out and "can be ranked together" in out
    before = (folder / "comparison.html").read_bytes()
    assert main(["compare", "g", "dyn", "--quiet"]) == 0
    assert names(beside / "outputs" / "comparison-2") == FILES and (folder / "comparison.html").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["g", "dyn"], 3),
        (["outputs/g/seed-0", "dyn"], 2),
        (["g/*"], 2),
        (["outputs/*"], 3),
        (["latest", "g/seed-1", "dyn"], 2),
        (["./outputs/g/", "g/seed-0"], 2),
    ],
)
def test_runs_are_named_by_name_path_pattern_or_group_and_each_counts_once(beside, words, runs):
    assert main(["compare", *words, "--output", "here", "--quiet"]) == 0
    content = json.loads((beside / "here" / "comparison.json").read_text())
    assert sum(len(entry["runs"]) for group in content["groups"] for entry in group["entries"]) == runs


def test_runs_of_another_folder_are_compared_too(beside):
    (beside / "outputs").rename(beside / "elsewhere")
    assert main(["compare", "elsewhere/g", "elsewhere/dyn", "--output", "here", "--quiet"]) == 0
    labels = re.findall(r'"label": "(.*)"', (beside / "here" / "comparison.json").read_text())
    assert sorted(labels) == ["elsewhere/dyn", "elsewhere/g"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dyn"], "1 run to compare, and it takes two"),
        (["dyn", "g/seed-O"], "'g/seed-O' is no run, in outputs or as a path (did you mean g/seed-"),
        (["nested", "dyn"], "'nested' is no run, in outputs or as a path (its runs are 'nested/*')"),
        (["wide-*"], "no run in outputs matches 'wide-*'"),
        (["dyn", "g", "--output", "outputs"], "outputs is not empty"),
    ],
)
def test_a_mistake_gets_one_line(beside, capsys, words, message):
    record_run(beside / "outputs/nested/seed-0")
    before = names(beside / "outputs")
    assert main(["compare", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and names(beside / "outputs") == before


def test_a_run_without_a_usable_model_or_without_an_epoch_is_left_out_with_a_line(beside, capsys):
    (beside / "outputs/dyn/checkpoints/last.pt").write_text("x")
    record_run(beside / "outputs/begun", (), finished=False)
    assert main(["compare", "--all"]) == 0
    out = capsys.readouterr().out
    assert "no samples of dyn: " in out and "left out: begun has done no epoch yet" in out
    for path in (beside / "outputs").glob("*/**/last.pt"):
        path.unlink()
    assert main(["compare", "--all"]) == 0
    assert names(beside / "outputs" / "comparison-2") == [name for name in FILES if name != "samples.png"]


def test_a_run_whose_curves_are_damaged_is_left_out_and_no_empty_folder_is_made(beside, capsys):
    path = beside / "outputs/dyn/metrics.jsonl"
    path.write_text("\n".join(["{" if number == 1 else row for number, row in enumerate(path.read_text().split("\n"))]))
    line = "left out: outputs/dyn/metrics.jsonl is damaged\n"
    assert main(["compare", "--all"]) == 0
    assert line in capsys.readouterr().out
    rows = [json.loads(row) for row in (beside / "outputs/g/seed-0/metrics.jsonl").read_text().splitlines()]
    del rows[0]["test/kl"]
    (beside / "outputs/g/seed-0/metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    shutil.rmtree(beside / "outputs/comparison")
    assert main(["compare", "--all"]) == 2
    out, err = capsys.readouterr()
    assert line in out and "left out: outputs/g/seed-0/metrics.jsonl: line 1 is damaged" in out and "−ELBO" not in out
    assert err.startswith("error: 1 run to compare") and not (beside / "outputs/comparison").exists()


@pytest.mark.parametrize("taken", ["outputs", "file"])
def test_a_taken_output_is_refused_before_the_tables(beside, capsys, taken):
    (beside / "file").write_text("mine")
    assert main(["compare", "g", "dyn", "--output", taken]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and (beside / "file").read_text() == "mine"


def test_the_lowest_figures_are_coloured_in_a_terminal(tmp_path, monkeypatch, capsys):
    for name, latent_dim, loss in (("low", 2, 140.0), ("high", 3, 150.0)):
        record_run(tmp_path / "outputs" / name, (loss,), latent_dim=latent_dim, nll=(loss - 5, 50))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vae.system.console.Console._painted", lambda self, text, style: f"[{text}]" if style else text)
    assert main(["compare", "--all"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  low"))
    assert "[140.00 *]" in line and "[135.00 (K=50) *]" in line and line.count("[") == 2


def test_an_exact_name_comes_before_a_pattern(beside):
    (beside / "outputs/dyn").rename(beside / "outputs/a[1]")
    assert main(["compare", "a[1]", "g", "--output", "here", "--quiet"]) == 0
    assert '"a[1]"' in (beside / "here" / "comparison.json").read_text()


def test_nothing_from_a_run_can_become_markup(beside):
    assert main(["compare", "g", "dyn", "--output", "plain", "--quiet"]) == 0
    plain = Tags((beside / "plain" / "comparison.html").read_text("utf-8")).tags
    path = beside / "outputs/dyn/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": HOSTILE, "protocol": HOSTILE}))
    assert main(["compare", "g", "dyn", "--output", "hostile", "--quiet"]) == 0
    page = (beside / "hostile" / "comparison.html").read_text("utf-8")
    assert [tag for tag, _ in Tags(page).tags] == [tag for tag, _ in plain]
    assert "<img src=x" not in page and "{{data}}" in page
    for tag, attributes in Tags(page).tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes)


def test_of_more_than_ten_runs_no_two_look_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for latent_dim in range(1, 13):
        record_run(tmp_path / "outputs" / f"d{latent_dim}", latent_dim=latent_dim)
    drawn = []
    monkeypatch.setattr("vae.commands.compare.draw_curves", lambda path, groups, **_: drawn.extend(*groups.values()))
    assert main(["compare", "--all", "--quiet"]) == 0
    assert len({(curves.color, curves.dashes) for curves in drawn}) == 12
    page = Tags((tmp_path / "outputs/comparison/comparison.html").read_text("utf-8"))
    (chart,) = json.loads(page.data)["curves"]
    assert len(set(chart["styles"].values())) == 12
    swatches = [attributes["class"] for tag, attributes in page.tags if tag == "i"]
    assert set(swatches) == set(chart["styles"].values())


def test_the_page_has_the_curves_of_each_group_by_name(beside):
    assert main(["compare", "g", "dyn", "--output", "here", "--quiet"]) == 0
    charts = json.loads(Tags((beside / "here" / "comparison.html").read_text("utf-8")).data)["curves"]
    of = {next(iter(chart["panels"][0]["lines"])): chart for chart in charts}
    rows = [json.loads(line) for line in (beside / "outputs/dyn/metrics.jsonl").read_text().splitlines()]
    assert of["dyn"]["epochs"] == [1, 2, 3] and of["g"]["epochs"] == [1, 2]
    assert of["dyn"]["panels"][0]["lines"]["dyn"] == [round(-row["test/elbo"], 4) for row in rows]
    assert of["dyn"]["panels"][3]["lines"]["dyn"] == [round(-row["train/elbo"], 4) for row in rows]
    assert not of["dyn"]["panels"][0]["bands"] and len(of["g"]["panels"][0]["bands"]["g"]) == 2
