"""Flags in a file, read with `--config`."""

import json

import pytest
from small_runs import ROOT, run_main

from main import main
from vae.config import Config
from vae.config.cli import parse_args
from vae.config.fields import PLACES
from vae.config.flag_file import MAX_BYTES
from vae.config.presets import configure
from vae.system.errors import UsageError


@pytest.fixture
def parse_file(tmp_path):
    """What the command line gives with a file of this text."""

    def parse(text, *flags):
        path = tmp_path / "flags.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return parse_args(["--config", str(path), *flags])

    return parse


def test_a_file_s_flags_are_those_of_the_command_line(parse_file):
    text = """
# a comment
preset: mlp-32d-tuned
num-epochs: 30       # hyphens as in flags
lr: 1e-3             # a string in YAML 1.1
hidden_dims: [64, 32]
mean_bias: false
gif: yes
compile: on          # a switch in YAML 1.1
weight_decay: 0
run_name: 2026-11-21 # a date in YAML 1.1
"""
    line = ["--preset", "mlp-32d-tuned", "--num_epochs", "30", "--lr", "1e-3", "--hidden_dims", "64", "32"]
    line += ["--no_mean_bias", "--gif", "--compile", "on", "--weight_decay", "0", "--run_name", "2026-11-21"]
    assert parse_file(text) == parse_args(line)


def test_a_list_of_one_may_be_written_without_brackets_and_an_empty_file_has_no_flags(parse_file):
    assert parse_file("hidden_dims: 300") == {"hidden_dims": (300,)}
    assert parse_file("hidden_dims:\n- 300\n- 20\n") == {"hidden_dims": (300, 20)}
    assert parse_file("# nothing yet\n") == {} == parse_file("{}")
    assert parse_file('{"lr": 0.5,\n  "gif": true}') == {"lr": 0.5, "gif": True}


def test_flags_on_the_line_win_over_the_file_s_and_these_over_their_preset_s(parse_file):
    given = parse_file("preset: mlp-20d\nlr: 0.5\nbatch_size: 7", "--lr", "0.25")
    assert given == {"preset": "mlp-20d", "lr": 0.25, "batch_size": 7}
    config = configure(given)
    assert (config.lr, config.batch_size, config.latent_dim) == (0.25, 7, 20)
    assert configure(parse_file("preset: mlp-20d\nlr: 0.5", "--preset", "mlp-64d")).latent_dim == 64


WRONG = {
    "batchsize: 3": "line 1: unknown flag --batchsize (did you mean --batch_size?)",
    "lr: 1\nseed: 2\nlr: 3": "line 3: lr is there twice",
    "num-epochs: 1\nnum_epochs: 2": "line 2: num_epochs is there twice",
    "num_epochs: 1:30": "line 1: --num_epochs: expected an integer, not '1:30'",
    "num_epochs: 2.5": "expected an integer, not '2.5'",
    "lr: fast": "line 1: --lr: expected a number, not 'fast'",
    "lr:": "line 1: lr: expected a value",
    "lr: {a: 1}": "line 1: lr: expected a value",
    "hidden_dims: [[1], 2]": "line 1: hidden_dims: expected a value, or a list of values",
    "hidden_dims: []": "--hidden_dims: expected a value, not a list of 0",
    "lr: [1, 2]": "--lr: expected a value, not a list of 2",
    "gif: 1": "line 1: --gif: expected true or false",
    "gif: [true, false]": "--gif: expected true or false",
    "no_gif: true": "unknown flag --no_gif (did you mean --gif?)",
    "config: other.yaml": "--config is for the command line only",
    "help: all": "--help is for the command line only",
    "- lr\n- 3": "line 1: expected flags and their values, such as lr: 0.001",
    "just words": "line 1: expected flags and their values",
    "? [1, 2]\n: 3": "line 1: expected a flag's name",
    "lr: [1": "line 1: expected ',' or ']'",
    "a: b: c": "line 1: mapping values are not allowed here",
    "--- {}\n--- {}": "line 2: but found another document",
    "lr: 3\n\tseed: 4": "line 2: ",
    "seed: *x": "found undefined alias",
    b"\x89PNG\r\n\x1a\n\0\0\0": "not a text file in YAML or JSON",
    b"lr: \xff\xfe": "not a text file",
    "[" * 90_000: "not a text file in YAML or JSON",
    "# " + "a" * MAX_BYTES: "longer than 100,000 bytes",
    "lr: " + "9" * 5000: "expected a finite number",
    "lr: -1": "--lr -1.0: must be above 0 (with the flags in ",
    "dataset: mnits": "did you mean mnist?",
    "preset: mlp20d": "did you mean mlp-20d?",
    "num_epochs: 2\nkl_warmup_epochs: 3": "is longer than the run: --num_epochs 2 (with the flags in ",
    "lr: !!python/object/apply:os.system [touch pwned]": "expected a number, not 'touch pwned'",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:25]))
def test_a_mistake_in_a_file_gets_one_line_that_names_the_file(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my flags.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["--config", "my flags.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and "my flags.yaml" in err
    assert WRONG[text] in err and len(err) < 700
    assert [path.name for path in tmp_path.iterdir()] == ["my flags.yaml"]


@pytest.mark.parametrize("place", ["no/such.yaml", ".", "\0", "loop"])
def test_a_file_that_cannot_be_read_gets_one_line(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert main(["--config", place]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --config ") and err.count("\n") == 1


def scores(run_dir):
    """The rows of a run's metrics without what depends on the clock."""
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def test_a_run_is_repeated_from_its_config_json_under_a_new_name(finished_run, tmp_path):
    first, again = finished_run / "outputs" / "whole", tmp_path / "outputs" / "again"
    assert run_main(tmp_path, "--config", str(first / "config.json"), "--run_name", "again") == 0
    assert scores(again) == scores(first) and len(scores(first)) == 4
    configs = [json.loads((run / "config.json").read_text())["config"] for run in (first, again)]
    differ = {name for name, value in configs[0].items() if configs[1][name] != value}
    assert differ == {"run_name", "output_dir", "log_dir", "data_dir"}


def test_a_config_json_leaves_the_places_of_its_run_to_the_new_one(finished_run):
    path = str(finished_run / "outputs" / "whole" / "config.json")
    given = parse_args(["--config", path])
    assert set(given) == set(Config().to_dict()) - set(PLACES) - {"nets"}
    assert (given["num_epochs"], given["val_split"], given["hidden_dims"]) == (4, 0.1, (32,))
    assert parse_args(["--config", path, "--num_epochs", "9"])["num_epochs"] == 9
    with pytest.raises(UsageError, match="holds every flag of a run and leaves none to a preset"):
        parse_args(["--config", path, "--preset", "mlp-20d"])


def test_a_run_is_continued_with_flags_from_a_file(tmp_path):
    assert run_main(tmp_path, "--num_epochs", "1", "--run_name", "x", "--quiet") == 0
    run_dir = tmp_path / "outputs" / "x"
    (tmp_path / "more.yaml").write_text("num_epochs: 2\nquiet: true\n")
    assert main(["--resume", str(run_dir), "--config", str(tmp_path / "more.yaml")]) == 0
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 2
    own = str(run_dir / "config.json")
    assert main(["--resume", str(run_dir), "--config", own, "--num_epochs", "3", "--quiet"]) == 0
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_example_says_what_it_shows():
    config = configure(parse_args(["--config", str(ROOT / "examples" / "mlp-20d.yaml")]))
    assert (config.preset, config.hidden_dims, config.lr, config.lr_schedule) == ("mlp-20d", (512, 256), 2e-3, "cosine")
    assert config.mean_bias and config.num_epochs == 20 and config.dataset == "mnist"
