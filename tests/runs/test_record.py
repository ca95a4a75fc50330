"""What a run wrote down is read back whole, or refused in a line that names the file."""

import json

import pytest

from vae.runs.record import DESCRIPTION, read_description, read_metrics
from vae.system.files import FileError


@pytest.fixture
def rows(finished_run):
    return [json.loads(line) for line in (finished_run / "outputs/whole/metrics.jsonl").read_text().splitlines()]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rows_after_the_last_epoch_and_half_rows_are_left_out(tmp_path, rows):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 5, "tra')
    assert read_metrics(path, 4) == rows and read_metrics(path, 2) == rows[:2]
    assert read_metrics(tmp_path / "none", 0) == []
    with pytest.raises(FileError, match="doesn't hold epochs 1 to 5"):
        read_metrics(path, 5)


@pytest.mark.parametrize("key", ["epoch", "test/kl", "val/elbo", "seconds", "test/kl_per_dim"])
def test_a_row_that_lacks_a_figure_or_has_a_wrong_one_is_named(tmp_path, rows, key):
    path = tmp_path / "metrics.jsonl"
    odd_rows = [{name: value for name, value in rows[1].items() if name != key}]
    odd_rows += [{**rows[1], key: odd} for odd in (None, "x", [None], {}, True, float("nan"), 10**400)]
    for odd_row in odd_rows:
        write_rows(path, [rows[0], odd_row, *rows[2:]])
        with pytest.raises(FileError, match="line 2 is damaged"):
            read_metrics(path, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2\n", "line 1 is damaged"),
        (b"\xff", "is damaged"),
        (b"[" * 100_000 + b"\n", "line 1 is damaged"),
        (b"", "doesn't hold epochs 1 to 4"),
        (None, "can't read"),
    ],
)
def test_a_damaged_metrics_file_gets_one_line(tmp_path, content, message):
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_metrics(path, 4)


def test_a_config_json_that_lacks_an_entry_or_is_none_gets_one_line(finished_run, tmp_path):
    path = tmp_path / "config.json"
    description = read_description(finished_run / "outputs/whole/config.json")
    for name in DESCRIPTION:
        path.write_text(json.dumps({**description, name: [1]}))
        with pytest.raises(FileError, match=f"is damaged: its {name} is missing or wrong"):
            read_description(path)
    for text in ("{}", "[]", "{", "1" * 5000):
        path.write_text(text)
        with pytest.raises(FileError, match="is damaged"):
            read_description(path)
