import pytest

from vae.system.wording import did_you_mean, plural


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("mnits", "did you mean mnist?"),
        ("MNIST", "did you mean mnist?"),
        ("fashion", "did you mean fashion_mnist?"),
        ("--fashion", "did you mean fashion_mnist?"),
        ("xyz", ""),
        ("", ""),
        ("--", ""),
    ],
)
def test_a_word_is_taken_for_the_name_most_like_it_or_one_that_contains_it(word, suggestion):
    assert did_you_mean(word, ["fashion_mnist", "mnist", "digits"]) == suggestion


def test_only_one_is_no_plural():
    assert [f"{count} {plural(count, 'epoch')}" for count in (0, 0.5, 1, 1.0, 2)] == [
        "0 epochs",
        "0.5 epochs",
        "1 epoch",
        "1.0 epoch",
        "2 epochs",
    ]
