import pytest

from vae.training.schedule import learning_rate, warmup

COSINE = {"lr": 2.0, "schedule": "cosine", "warmup_epochs": 0.0, "num_epochs": 10}


def test_warmup_grows_to_one_and_stays():
    assert [warmup(t, 4) for t in (0, 1, 4, 9)] == [0, 0.25, 1, 1] and warmup(0, 0) == 1


def test_a_constant_rate_only_warms_up():
    rates = [learning_rate(t, lr=2.0, schedule="constant", warmup_epochs=2, num_epochs=10) for t in (0, 1, 2, 9.9)]
    assert rates == [0, 1, 2, 2]


def test_cosine_falls_from_the_peak_through_its_half_to_zero():
    assert [learning_rate(t, **COSINE) for t in (0, 5, 10)] == pytest.approx([2, 1, 0])
    assert learning_rate(6, **{**COSINE, "warmup_epochs": 2.0}) == pytest.approx(1)
