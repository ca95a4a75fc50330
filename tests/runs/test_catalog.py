import json
import subprocess
import sys

import pytest
from recorded_runs import edit, measured, record_run
from small_runs import ROOT

from vae.runs.catalog import find_runs, read_run
from vae.runs.folders import link_latest
from vae.system.files import FileError, take_lock


def names(runs):
    return [run.name for run in runs]


def test_a_finished_run_is_read_as_it_was_recorded(finished_run):
    run = read_run(finished_run / "outputs" / "whole")
    results = json.loads((run.path / "results.json").read_text())
    assert (run.name, run.state, run.epoch, run.dataset) == ("whole", "finished", 4, "scikit-learn digits")
    assert run.test == {term: results["test"][term] for term in ("loss", "recon", "kl")}
    assert run.test["loss"] == -results["test"]["elbo"]
    assert (run.parameters, run.protocol) == (results["parameters"], results["protocol"])
    assert run.seconds == results["train_seconds"] and len(run.rows) == 4
    started = json.loads((run.path / "config.json").read_text())["started"]
    assert run.started.isoformat() == started and run.likelihood is None


def test_states_of_runs(tmp_path):
    assert read_run(record_run(tmp_path / "done")).state == "finished"
    stopped = record_run(tmp_path / "stopped", finished=False)
    with (stopped / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 3, "half')  # as a kill leaves it
    assert (read_run(stopped).state, read_run(stopped).epoch) == ("stopped", 2)
    with take_lock(stopped / ".lock"):
        code = "import sys; from pathlib import Path; from vae.runs.catalog import read_run\n"
        code += "print(read_run(Path(sys.argv[1])).state, 'torch' in sys.modules)"
        out = subprocess.run([sys.executable, "-c", code, stopped], capture_output=True, text=True, cwd=ROOT).stdout
    assert out.split() == ["training", "False"]
    begun = read_run(record_run(tmp_path / "begun", (), finished=False))
    assert (begun.state, begun.epoch, begun.test) == ("stopped", 0, {})


def test_runs_of_older_versions_are_read(tmp_path):
    old = record_run(tmp_path / "old")
    description = json.loads((old / "config.json").read_text())
    del description["started"], description["config"]["tsne_samples"]
    description["config"]["a_knob_of_another_version"] = 3
    (old / "config.json").write_text(json.dumps(description))
    run = read_run(old)
    ended = (old / "metrics.jsonl").stat().st_mtime
    assert run.test["loss"] == 150.0 and abs(run.started.timestamp() - (ended - 3.0)) <= 1.0


DAMAGE = {
    "config.json": "{",
    "metrics.jsonl": '{"epoch": 1}\n',
    "config.json ": '{"config": {}}',
    "metrics.jsonl ": "[1]\nxx\n",
    "metrics.jsonl  ": '{"epoch": 1, "seconds": "long"}\n',
}


@pytest.mark.parametrize(("file", "content"), DAMAGE.items(), ids=range(len(DAMAGE)))
def test_a_damaged_run_is_named_and_hides_no_other(tmp_path, file, content):
    record_run(tmp_path / "good")
    (record_run(tmp_path / "bad") / file.strip()).write_text(content)
    runs, damaged = find_runs(tmp_path)
    assert names(runs) == ["good"] and list(damaged) == ["bad"] and file.strip() in damaged["bad"]
    with pytest.raises(FileError):
        read_run(tmp_path / "bad")


def test_a_damaged_evaluation_or_results_file_costs_only_its_figures(tmp_path):
    run_dir = record_run(tmp_path / "x", nll=(90.0, 5000))
    (run_dir / "evaluate").mkdir()
    (run_dir / "evaluate" / "evaluation.json").write_text('{"epoch": 2, "measured": {"test": "x"}}')
    assert read_run(run_dir).likelihood == (90.0, 5000)
    (run_dir / "results.json").write_text("{")
    assert read_run(run_dir).likelihood is None and read_run(run_dir).state == "stopped"


def test_the_newest_likelihood_of_the_last_epoch_counts(tmp_path):
    run_dir = record_run(tmp_path / "x", nll=(90.0, 5000))
    (run_dir / "evaluate").mkdir()
    for number, (epoch, nll) in enumerate([(2, 91.0), (1, 99.0)]):
        path = run_dir / "evaluate" / f"evaluation-{number}.json"
        path.write_text(json.dumps({"epoch": epoch, "measured": measured(nll, 100)}))
    assert read_run(run_dir).likelihood == (91.0, 100)


def test_folders_that_are_no_runs_are_passed_over_and_groups_are_looked_into(tmp_path):
    outputs = tmp_path / "outputs"
    record_run(outputs / "alone")
    for seed in (0, 1):
        record_run(outputs / "group" / f"seed-{seed}", seed=seed)
    for folder in ("gallery", "comparison", "group/notes", "deep/deeper/deepest"):
        (outputs / folder).mkdir(parents=True)
    record_run(outputs / "deep/deeper/run")
    (outputs / "file.txt").write_text("x")
    link_latest(outputs / "alone")
    edit(outputs / "alone/config.json", started="2031-01-01T00:00:00")
    runs, damaged = find_runs(outputs)
    assert names(runs) == ["alone", "group/seed-0", "group/seed-1"] and not damaged
