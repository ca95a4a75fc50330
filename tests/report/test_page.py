import base64
import json
import re
import shlex
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from html_tags import Tags, unblob
from jinja2 import UndefinedError
from small_runs import ROOT

from main import main
from vae import VAE, load_model, open_run
from vae.config.cli import parse_args
from vae.config.presets import EXPECTED, Expected, command_line, configure, expectation
from vae.data.datasets import load_splits
from vae.plots import canvas
from vae.report import explorer, nets, page
from vae.report.page import ENVIRONMENT, STATIC, TEMPLATES
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UserError

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{data}}{% x %} \u2028\u202e&amp;"


def page_of(run_dir):
    return (run_dir / "report.html").read_text("utf-8")


def describe(model, splits):
    """What the explorer needs, with random posterior means, and latents with a KL of 0, 1, 2… nats."""
    mu = torch.randn(len(splits.test), model.latent_dim)
    return explorer.describe(model, splits, mu, kl_per_dim=[*range(model.latent_dim)])


def test_writing_it_again_from_the_folder_gives_the_same_bytes(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    before = (run_dir / "report.html").read_bytes()
    assert open_run(run_dir).report() == run_dir / "report.html"
    assert (run_dir / "report.html").read_bytes() == before


def test_the_page_says_what_the_run_recorded(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    page, results = page_of(run_dir), json.loads((run_dir / "results.json").read_text())
    for split in ("train", "val", "test"):
        for figure in (-results[split]["elbo"], results[split]["recon"], results[split]["kl"]):
            assert f"{figure:.2f}" in page
    assert results["protocol"] in page
    curves = json.loads(Tags(page).data)["curves"]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert curves["epochs"] == [1, 2, 3, 4]
    assert curves["panels"][1]["lines"]["test"] == [round(row["test/recon"], 4) for row in rows]
    for picture in ("samples", "reconstructions", "manifold", "tsne"):
        assert base64.b64encode((run_dir / f"{picture}.png").read_bytes()).decode() in page


def test_the_page_refers_to_nothing_outside_itself(finished_run):
    page = page_of(finished_run / "outputs" / "whole")
    for tag, attributes in Tags(page).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:80])
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
    for file in (*STATIC.iterdir(), *TEMPLATES.iterdir()):
        source = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")  # a name, never fetched
        assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|fetch\(|XMLHttp|WebSocket|import\(", source), file
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_nothing_from_a_run_can_become_markup(finished_run, tmp_path):
    run_dir = tmp_path / "outputs" / "copy"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    plain = Tags(page_of(run_dir)).tags
    description = json.loads((run_dir / "config.json").read_text())
    description |= {"dataset": HOSTILE, "device": HOSTILE, "git_commit": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    description["protocol"] = HOSTILE
    (run_dir / "config.json").write_text(json.dumps(description))
    state = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    state["places"]["data_dir"] = str(tmp_path)
    torch.save(state, run_dir / "checkpoints" / "last.pt")
    open_run(run_dir).report()
    assert [tag for tag, _ in Tags(page_of(run_dir)).tags] == [tag for tag, _ in plain]
    assert "<script>alert" not in page_of(run_dir) and "onerror=alert(1)>" not in page_of(run_dir)
    assert "{{data}}{% x %}" in page_of(run_dir)  # as text: what is filled in is not read as a template


def test_data_blocks_and_text_hold_what_they_were_given():
    block = ENVIRONMENT.from_string("{{ value|tojson }}").render(value={HOSTILE: [HOSTILE]})
    assert json.loads(block) == {HOSTILE: [HOSTILE]}
    assert block.isascii() and not set("<>&") & set(block)
    text = ENVIRONMENT.from_string("{{ value }}").render(value="<b>\x1b[31m\u202e'\"")
    assert text == "&lt;b&gt;\ufffd[31m\ufffd&#39;&#34;"


def test_a_template_that_asks_for_what_it_was_not_given_fails():
    with pytest.raises(UndefinedError):
        ENVIRONMENT.from_string("{{ value }}").render()


def test_the_weights_in_the_page_are_the_decoders_in_16_bits(finished_run):
    run_dir = finished_run / "outputs" / "whole"
    program = json.loads(Tags(page_of(run_dir)).data)["explorer"]["program"]
    assert [step["op"] for step in program["steps"]] == ["linear", "relu", "linear"]
    matrices, vectors = unblob(program["matrices"]), unblob(program["vectors"])
    assert (matrices.dtype, vectors.dtype) == (np.int16, np.float32)
    own = load_model(run_dir).decoder.state_dict()
    for layer in ("body.0", "head"):
        weight, bias = (own[f"{layer}.{name}"].numpy() for name in ("weight", "bias"))
        rows, matrices = matrices[: weight.size].reshape(weight.shape), matrices[weight.size :]
        (scale, stored), vectors = vectors[: 2 * len(bias)].reshape(2, -1), vectors[2 * len(bias) :]
        assert (abs(rows).max(1) == 32767).all()
        np.testing.assert_allclose(rows * scale[:, None], weight, rtol=0, atol=0.51 * scale.max())
        np.testing.assert_array_equal(stored, bias)
    assert not len(matrices) and not len(vectors)


def test_the_default_models_report_is_at_most_6_mb(tmp_path):
    splits = load_splits("digits", Path())
    for latent_dim in (2, 20):
        model = VAE(latent_dim).eval()
        contents = describe(model, splits)
        assert len(json.dumps(contents)) < 2.5e6  # and the pictures of a run on MNIST have 2 MB


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (VAE(2, arch="conv", base_channels=4), "is convolutional"),
        (VAE(3, arch="conv", base_channels=4, num_classes=10), "is convolutional"),
        (VAE(2, hidden_dims=(3000, 3000)), "11,364,784 weights"),
    ],
)
def test_a_decoder_that_a_page_cant_run_comes_as_images_with_the_reason(model, reason):
    splits = load_splits("digits", Path())
    model.eval()
    contents = describe(model, splits)
    assert reason in contents["reason"] and contents["program"] is None
    bank = {name: torch.from_numpy(unblob(contents["bank"][name]).astype(np.float32)) for name in ("z", "y", "images")}
    decoded = model.decode(bank["z"][:50], bank["y"][:50].long()).mul(255)
    torch.testing.assert_close(bank["images"][:50], decoded, atol=1.0, rtol=0)
    assert len(json.dumps(contents)) < 2.5e6


def test_images_too_large_to_bring_along_are_left_out_and_the_page_says_so(finished_run, monkeypatch, tmp_path):
    monkeypatch.setattr(explorer, "BANK_BYTES", 20_000)
    splits = load_splits("digits", Path())
    for latent_dim in (2, 3):
        model = VAE(latent_dim, arch="conv", base_channels=2).eval()
        contents = describe(model, splits)
        assert contents["bank"] is None
    monkeypatch.setattr(nets, "MAX_WEIGHTS", 10)
    run_dir = tmp_path / "whole"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    page = open_run(run_dir).report().read_text("utf-8")
    assert "There is none for this model: the decoder has" in page and 'id="digit"' not in page


def test_a_conditional_run_s_page_asks_for_the_class(conditional_run):
    contents = json.loads(Tags(page_of(conditional_run)).data)["explorer"]
    assert contents["conditional"]


def test_a_run_that_was_stopped_gets_a_report_that_says_so(finished_run, tmp_path):
    run_dir = tmp_path / "outputs" / "stopped"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    shutil.copy(run_dir / "checkpoints" / "epoch_002.pt", run_dir / "checkpoints" / "last.pt")
    (run_dir / "results.json").unlink()
    page = open_run(run_dir).report().read_text()
    assert "This run stands at epoch 2 of 4." in page
    row = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[1])
    assert f"{row['test/loss']:.2f}" in page


def test_the_command_rewrites_the_run_s_page_and_no_other(finished_run, tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "outputs" / "whole"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    before = page_of(run_dir)
    checkpoint = str(run_dir / "checkpoints" / "epoch_002.pt")
    (run_dir / "report.html").write_text("of an older version")
    assert main(["report", "--run", str(run_dir), "--device", "cpu"]) == 0
    assert f"{run_dir / 'report.html'}\n" in capsys.readouterr().out and page_of(run_dir) == before
    assert not (run_dir / "report").exists()
    assert main(["report", "--checkpoint", checkpoint, "--device", "cpu"]) == 0
    assert "This run stands at epoch 2 of 4." in (run_dir / "report" / "report_epoch_002.html").read_text("utf-8")
    (tmp_path / "mine.html").write_text("precious")
    assert main(["report", "--run", str(run_dir), "--device", "cpu", "--output", str(tmp_path / "mine.html")]) == 2
    assert page_of(run_dir) == before and (tmp_path / "mine.html").read_text() == "precious"
    (tmp_path / "mine.html").unlink()
    capsys.readouterr()
    shutil.copy(checkpoint, tmp_path / "alone.pt")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--checkpoint", "alone.pt", "--device", "cpu"]) == 2
    assert "lies outside a run" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"alone.pt", "outputs"}


def test_what_is_no_run_or_has_no_epoch_gets_one_line(finished_run, tmp_path):
    with pytest.raises(CheckpointError, match=r"it has no checkpoints/last\.pt"):
        open_run(tmp_path).report()
    run_dir = tmp_path / "new"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    state = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    torch.save(state | {"epoch": 0}, run_dir / "checkpoints" / "last.pt")
    with pytest.raises(UserError, match="no epoch is done yet"):
        open_run(run_dir).report()
    torch.save(state, run_dir / "checkpoints" / "last.pt")
    for file, damage in (("metrics.jsonl", "[1, 2\n"), ("config.json", "{}")):
        (run_dir / file).write_text(damage)
        with pytest.raises(UserError, match=f"{file}.* is damaged"):
            open_run(run_dir).report()


def test_a_picture_that_is_none_is_left_out_and_the_page_says_so(finished_run, tmp_path):
    run_dir = tmp_path / "whole"
    shutil.copytree(finished_run / "outputs" / "whole", run_dir)
    whole = (run_dir / "samples.png").read_bytes()
    for content in (b"no picture", b"", whole[: len(whole) // 2]):
        (run_dir / "samples.png").write_bytes(content)
        page = open_run(run_dir).report().read_text("utf-8")
        assert "Left out: samples.png is not a PNG, or it is damaged." in page and ">Reconstructions<" in page
        assert ">Samples<" not in page


def test_of_a_long_run_evenly_spaced_epochs_are_shown_the_first_and_the_last_among_them():
    for length in (1, 2, 500, 501, 12_345):
        shown = [row["epoch"] for row in page.thinned([{"epoch": n + 1} for n in range(length)])]
        assert len(shown) == min(length, 500) and (shown[0], shown[-1]) == (1, length)
        assert np.ptp(np.diff(shown)) <= 1 if length > 1 else True


def test_expected_figures_are_those_of_the_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import results

    figures = results.expected([entry for entry in results.load() if entry["preset"] not in results.SCORED])
    assert {preset: Expected(**row) for preset, row in figures.items()} == EXPECTED
    losses = [entry["test"]["loss"] for entry in results.load() if (entry["preset"], entry["epoch"]) == ("mlp-2d", 60)]
    assert len(losses) == EXPECTED["mlp-2d"].seeds
    assert statistics.mean(losses) == pytest.approx(EXPECTED["mlp-2d"].mean, abs=0.006)
    assert statistics.stdev(losses) == pytest.approx(EXPECTED["mlp-2d"].std, abs=0.006)


def test_a_run_of_a_preset_is_compared_with_what_is_expected_of_it(finished_run, monkeypatch):
    run_dir = finished_run / "outputs" / "whole"
    description, results = (json.loads((run_dir / name).read_text()) for name in ("config.json", "results.json"))
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    contents = json.loads(Tags(page_of(run_dir)).data)["explorer"]
    config = configure({"preset": "mlp-20d", "dataset": "mnist"})
    monkeypatch.setitem(EXPECTED, "mlp-20d", Expected(20, 3, mean=100.0, std=0.5))

    def text(**changes):
        changed = {**results, "dataset": "MNIST", "epoch": 20, **changes}
        return page.render(run_dir, config, description, changed, rows, contents)

    compared = text(test={**results["test"], "elbo": -98.0})
    assert "100.00 ± 0.50 on the test images" in compared
    assert "This run: 98.00, 2.00 below the mean,\n4.0 standard deviations." in compared
    drawn = {tag: attributes for tag, attributes in Tags(compared).tags if tag in ("circle", "rect")}
    left, width, run = float(drawn["rect"]["x"]), float(drawn["rect"]["width"]), float(drawn["circle"]["cx"])
    assert left + width / 2 == pytest.approx(200, abs=0.1)
    assert run == pytest.approx(200 - 4 * width / 2, abs=0.3) and run > 0
    assert "No figure to compare with: the run stands at epoch 3 of 20." in text(epoch=3)
    assert "on MNIST only, and this is &lt;b&gt;." in text(dataset="<b>")


@pytest.mark.parametrize("preset", EXPECTED)
def test_a_figure_is_expected_of_the_run_that_was_measured_and_of_no_other(preset):
    measured = {"preset": preset, "dataset": "mnist", "num_epochs": EXPECTED[preset].num_epochs}
    assert expectation(configure({**measured, "seed": 5, "run_name": "x"})) == (EXPECTED[preset], "")
    for change in (
        {"num_epochs": 7},
        {"latent_dim": 9},
        {"beta": 2.0},
        {"lr": 0.1},
        {"dataset": "kmnist"},
        {"precision": "fp32"},
    ):
        expected, reason = expectation(configure({**measured, **change}))
        assert expected is None and (str(next(iter(change.values()))).rstrip(".0") in reason)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"preset": "mlp-64d", "side_by_side": False, "seed": 3},
        {"hidden_dims": (300, 20), "optimizer": "adam", "data_dir": "my data; rm -rf $HOME", "conditional": True},
        {"gif": True, "sample_every": 5},
        {"gif": True},
        {"preset": "conv-2d", "num_epochs": 3, "lr": 1e-5, "threads": 1},
    ],
)
def test_the_command_to_reproduce_a_run_means_the_same_run(given):
    config = configure({**given, "dataset": "mnist", "run_name": "x", "quiet": True})
    words = shlex.split(command_line(config))
    assert words[:2] == ["python", "main.py"]
    again = configure({**parse_args(words[2:]), "run_name": "x", "quiet": True})
    assert again == config


def test_the_page_colours_classes_as_the_pictures_do():
    style = (STATIC / "report.css").read_text()
    first = style.index("--class-0")
    colors = re.findall(r"--class-\d: (#\w+);", style[first : style.index("@media", first)])
    assert tuple(colors) == canvas.COLORS
