import pytest

from vae.system.columns import Column, middle_cut, table_lines

COLUMNS = [
    Column("run", ["short", "a-very-long-name-of-a-run-with-its-time-and-model"], 0, is_number=False),
    Column("−ELBO", ["96.93", "148.02"], 9),
    Column("none", ["", ""], 10),
    Column("started", ["2030-01-02 03:04", "2030-01-02 03:04"], 1, is_number=False),
    Column("time", ["5 s", "1 min"], 2),
]


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    lines = table_lines(COLUMNS, width)
    assert len(lines) == 3 and max(map(len, lines)) <= width


def test_what_matters_most_stays_and_empty_columns_never_do():
    assert table_lines(COLUMNS, 200)[0].split() == ["run", "−ELBO", "started", "time"]
    assert table_lines(COLUMNS, 50)[0].split() == ["run", "−ELBO", "time"]
    assert table_lines(COLUMNS, 42)[0].split() == ["run", "−ELBO"]
    assert table_lines(COLUMNS, 15)[0].split() == ["run"]


def test_nothing_stands_in_the_place_of_a_more_useful_column():
    columns = [Column("run", ["x"], 0), Column("wide", ["x" * 30], 5), Column("slim", ["y"], 1)]
    assert table_lines(columns, 20)[0].split() == ["run"]


def test_a_long_name_gets_room_before_columns_that_weigh_less():
    name = "20300102-030405-mlp-512-2d-seeds/seed-0"
    columns = [Column("run", [name], 3), Column("loss", ["148.02"], 5), Column("started", ["2030-01-02 03:04"], 1)]
    assert table_lines(columns, 48)[1].split() == [name, "148.02"]
    assert table_lines(columns, 90)[1].split() == [name, "148.02", "2030-01-02", "03:04"]
    heading, line = table_lines(columns, 45)
    assert heading.split() == ["run", "loss"] and len(line) == 45 and line.endswith("seeds/seed-0  148.02")


def test_a_cut_name_keeps_both_ends():
    assert middle_cut("a-very-long-name-1", 9) == "a-ve…me-1"
    assert middle_cut("short", 5) == "short"
