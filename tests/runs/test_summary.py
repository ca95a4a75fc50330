"""A run in words: what the screen shows of it."""

import pytest

from vae.runs.summary import epoch_lines, is_best

ROW = {"epoch": 9, "seconds": 1.23, "images_per_second": 48_780.0}
ROW |= {f"{split}/{term}": value for split in ("train", "test") for term, value in (("recon", 141.6), ("kl", 6.42))}
ROW |= {"train/loss": 148.02, "test/loss": 148.02}


def text(line):
    return "".join(span.text for span in line)


def test_an_epoch_s_line_at_80_columns_has_every_term_and_the_seconds():
    full, narrower, *_ = map(text, epoch_lines(ROW, 60, is_best=True))
    losses = "epoch  9/60  train 148.02 = 141.60 + 6.42  test 148.02 = 141.60 + 6.42 *"
    assert full == f"{losses}  1.2 s, 48,780 images/s" and narrower == f"{losses}  1.2 s"
    assert len(narrower) <= 80


@pytest.mark.parametrize("held_out", [False, True])
def test_an_epoch_s_line_loses_the_least_useful_first(held_out):
    row = ROW | ({"val/loss": 148.02, "val/recon": 141.6, "val/kl": 6.42} if held_out else {})
    lines = [text(line) for line in epoch_lines(row, 60, is_best=False)]
    assert [len(line) for line in lines] == sorted({len(line) for line in lines}, reverse=True)
    for line in lines:
        assert line.startswith("epoch  9/60") and line.count("148.02") == 2 + held_out
    assert lines[-2].endswith("test 148.02 = 141.60 + 6.42") and lines[-2].count("=") == 1
    assert lines[-1].endswith("test 148.02")


def test_the_best_epoch_is_chosen_by_validation_where_there_is_one():
    def row(test, val=None):
        return {"test/loss": test} | ({} if val is None else {"val/loss": val})

    assert is_best(row(5.0), []) and is_best(row(4.0), [row(5.0)])
    assert not is_best(row(5.0), [row(5.0)]) and not is_best(row(4.5), [row(4.0), row(5.0)])
    assert not is_best(row(4.0, 9.0), [row(5.0, 8.0)]) and is_best(row(6.0, 7.0), [row(5.0, 8.0)])


def test_the_best_epoch_s_mark_stands_at_the_loss_that_chose_it():
    row = ROW | {"val/loss": 1.0, "val/recon": 0.5, "val/kl": 0.5}
    assert "val 1.00 = 0.50 + 0.50 *  test" in text(epoch_lines(row, 60, is_best=True)[0])
    assert "*" not in text(epoch_lines(row, 60, is_best=False)[0])
