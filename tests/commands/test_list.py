import csv
import json

import pytest
from recorded_runs import record_run

from main import main
from vae.runs.folders import link_latest


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record_run(tmp_path / "outputs" / "a-grey-run", nll=(90.0, 5000))
    record_run(tmp_path / "outputs" / "dyn", finished=False, protocol="dynamically binarised", binarize="dynamic")
    link_latest(tmp_path / "outputs" / "dyn")
    return tmp_path / "outputs"


def listed(capsys, *flags):
    assert main(["list", *flags]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_table_names_figures_protocol_and_state(outputs, capsys):
    heading, *rows = listed(capsys)
    assert " ".join(heading.split()) == "run data, pixels model epochs −ELBO recon KL NLL started time state"
    cells = {row.split()[0]: row for row in rows[:2]}
    assert "mnist grey" in cells["a-grey-run"] and "90.00 (K=5,000)" in cells["a-grey-run"]
    assert "150.00  144.00  6.00" in cells["a-grey-run"] and "2030-01-02 03:04" in cells["a-grey-run"]
    assert "mnist dynamic" in cells["dyn"] and "2/5" in cells["dyn"] and cells["dyn"].endswith("stopped")
    assert "dyn *" in cells["dyn"] and any("* outputs/latest" in row for row in rows)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_every_line_fits_the_terminal(outputs, capsys, monkeypatch, width):
    record_run(outputs / ("20300102-030405-mlp-" + "512-" * 20 + "2d"), (), finished=False)
    monkeypatch.setattr("vae.commands.list.terminal_width", lambda: width)
    monkeypatch.setattr("vae.system.console.terminal_width", lambda: width)
    lines = listed(capsys)
    assert max(map(len, lines)) <= width and "−ELBO" in lines[0]


def test_narrow_terminals_keep_epochs_of_a_stopped_run_and_wide_ones_whole_names(outputs, capsys, monkeypatch):
    name = "20300102-030405-mlp-512-2d-seeds/seed-0"
    record_run(outputs / name, finished=False, nll=(90.0, 5000))
    monkeypatch.setattr("vae.commands.list.terminal_width", lambda: 60)
    heading, *rows = listed(capsys)
    assert "epochs" in heading and "time" not in heading and any("2/5" in row for row in rows)
    monkeypatch.setattr("vae.commands.list.terminal_width", lambda: 120)
    assert any(row.startswith(name) for row in listed(capsys))


def test_a_run_without_its_configuration_is_named_and_a_taken_file_refused_before_the_table(outputs, capsys):
    (record_run(outputs / "half") / "checkpoints").mkdir()
    (outputs / "half" / "config.json").unlink()
    lines = listed(capsys)
    assert any(line.startswith("left out: can't read outputs/half/config.json") for line in lines)
    (outputs / "runs.csv").write_text("mine")
    assert main(["list", "--output", "outputs/runs.csv"]) == 2
    assert capsys.readouterr().out == "" and (outputs / "runs.csv").read_text() == "mine"


def test_an_empty_folder_says_how_to_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "main.py --num_epochs 60" in " ".join(listed(capsys))
    assert list(tmp_path.iterdir()) == []


def test_damaged_runs_are_named_below_the_table(outputs, capsys):
    (record_run(outputs / "bad") / "config.json").write_text("{")
    lines = listed(capsys)
    assert any(line.startswith("left out: outputs/bad/config.json is damaged") for line in lines)
    assert any(line.startswith("a-grey-run") for line in lines)


def test_a_file_holds_every_figure(outputs, capsys):
    listed(capsys, "--output", "runs.json")
    listed(capsys, "--output", "runs.csv")
    values = {run["name"]: run for run in json.loads((outputs.parent / "runs.json").read_text())}
    assert values["a-grey-run"]["loss"] == 150.0 and values["a-grey-run"]["num_importance_samples"] == 5000
    assert values["dyn"]["state"] == "stopped" and values["dyn"]["nll"] is None
    rows = {row["name"]: row for row in csv.DictReader((outputs.parent / "runs.csv").read_text().splitlines())}
    assert rows["dyn"]["protocol"] == "dynamically binarised" and rows["dyn"]["nll"] == ""
    assert main(["list", "--output", "runs.csv"]) == 2
    assert "runs.csv exists" in capsys.readouterr().err
    listed(capsys, "--output", "runs.csv", "--overwrite")
