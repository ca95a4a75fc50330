"""Thousands of damaged checkpoints and generated command lines: each is used, or refused in one line."""

import json
import random
import string

import pytest
import torch
from conftest import load_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae import load_model
from vae.cli import build_parser, parse_args
from vae.errors import UserError

MUTANTS = 2000


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, double, swap or overwrite a part."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 3, 30))):
        at, span = rng.randrange(len(content) or 1), rng.choice((1, 1, 8, 500))
        match rng.randrange(5):
            case 0:
                content[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in content[at : at + 1])
            case 1:
                del content[at : at + span]
            case 2:
                content[at:at] = content[at : at + span]
            case 3:
                content[at : at + span] = rng.randbytes(span)
            case 4:
                content = content[: max(at, 1)]
    return bytes(content)


@pytest.mark.filterwarnings("ignore")  # torch and zipfile warn of what they find odd, and then refuse it
def test_a_mutated_checkpoint_loads_or_is_refused_in_one_line(finished_run, tmp_path):
    content = (finished_run / "outputs/whole/checkpoints/last.pt").read_bytes()
    # Most bytes are weights: aim a half of the mutations at the archive's structure and the pickle.
    small = {**load_state(finished_run / "outputs/whole"), "model_state": {}, "optimizer_state": {}}
    torch.save(small, tmp_path / "small.pt")
    structure = (tmp_path / "small.pt").read_bytes()
    rng, path, refused = random.Random(0), tmp_path / "x.pt", 0
    for number in range(MUTANTS):
        path.write_bytes(mutate(structure if number % 2 else content, rng))
        try:
            load_model(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error), str(error)
    assert refused > MUTANTS / 2


ODD = [None, -1, 10**30, float("nan"), True, torch.zeros(2), b"x", "", "x", {}, {"a": 1}]
ODD += [[], [None], [1, 2], [1, 2**30, 2**30]]


@pytest.mark.parametrize(
    "key", ["format", "config", "latent_dim", "image_shape", "num_classes", "model_state", "epoch"]
)
def test_a_checkpoint_with_an_odd_entry_is_refused_in_one_line_or_harmless(finished_run, tmp_path, key):
    state = load_state(finished_run / "outputs/whole")
    for odd in ODD:
        torch.save({**state, key: odd}, tmp_path / "x.pt")
        try:
            load_model(tmp_path / "x.pt")
        except UserError as error:
            assert "\n" not in str(error)


def test_a_checkpoint_with_an_odd_knob_is_refused_in_one_line(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    for name in state["config"]:
        for odd in ODD:
            if json.dumps(odd, default=str) == json.dumps(state["config"][name], default=str):
                continue
            torch.save({**state, "config": {**state["config"], name: odd}}, tmp_path / "x.pt")
            try:
                load_model(tmp_path / "x.pt")
            except UserError as error:
                assert "\n" not in str(error)


FLAGS = [option for action in build_parser()._actions for option in action.option_strings if option.startswith("--")]
FLAGS = [flag for flag in FLAGS if flag not in ("--help", "--list_presets")]
WORDS = st.one_of(
    st.sampled_from(
        ["auto", "mnist", "digits", "cpu", "adam", "adamw", "conv", "mlp", "bce", "mse", "dynamic", "mlp-2d"]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.text(string.printable, max_size=8),
    st.text(max_size=5),
    st.just("a" * 5000),
)
COMMAND_LINES = st.lists(
    st.one_of(
        st.sampled_from(FLAGS),
        st.tuples(st.sampled_from(FLAGS), WORDS).map("=".join),
        st.tuples(st.sampled_from(FLAGS), WORDS).map(list),
        WORDS,
    ),
    max_size=6,
).map(lambda parts: [word for part in parts for word in (part if isinstance(part, list) else [part])])


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(COMMAND_LINES)
def test_a_generated_command_line_is_valid_or_refused_in_one_line(argv):
    if {"-h", "--help", "--list_presets"} & set(argv):
        return
    try:
        parse_args(argv)
    except UserError as error:
        assert error.exit_code == 2 and "\n" not in str(error), str(error)
        assert str(error).isprintable(), repr(str(error))
