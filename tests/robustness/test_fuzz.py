"""Thousands of damaged checkpoints and generated command lines: each is used, or refused in one line."""

import contextlib
import io
import json
import random
import string
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutants import mutate
from small_runs import load_state

from main import main
from vae import commands, load_model
from vae.config.cli import build_command_parser, build_parser
from vae.config.options import COMMANDS
from vae.runs import launch
from vae.system.errors import UserError

MUTANTS = 2000


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


def flags_of(parser):
    flags = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    return [flag for flag in flags if flag not in ("--help", "--list_presets")]


FLAGS = {"train": flags_of(build_parser())}
FLAGS |= {name: flags_of(build_command_parser(command)) for name, command in COMMANDS.items()}
WORDS = st.one_of(
    st.sampled_from(
        [
            "auto",
            "mnist",
            "digits",
            "cpu",
            "adam",
            "adamw",
            "conv",
            "mlp",
            "bce",
            "mse",
            "dynamic",
            "mlp-2d",
            "png",
            "pca",
        ]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.integers(0, 300).map(str),
    st.floats().map(str),
    st.text(string.printable, max_size=8),
    st.text(max_size=5),
    st.sampled_from(["a" * 5000, "9" * 400, "9" * 5000, "1e999", "\x1b[31m", "\u202e", "..", "/", "-1", "~", "$(id)"]),
)


@st.composite
def command_lines(draw):
    """A command, or none for a training, and flags of it, mostly, with words behind them."""
    command = draw(st.sampled_from(sorted(FLAGS)))
    flag = st.sampled_from(FLAGS[command] if draw(st.integers(0, 9)) else FLAGS["train"])
    part = st.one_of(flag.map(lambda it: [it]), st.tuples(flag, WORDS).map(list), WORDS.map(lambda it: [it]))
    glued = st.tuples(flag, WORDS).map(lambda pair: ["=".join(pair)])
    parts = draw(st.lists(st.one_of(part, glued), max_size=5))
    first = [command] if command != "train" or draw(st.booleans()) else []
    return [*first, *(word for part in parts for word in part)]


@pytest.fixture(scope="module")
def parsed_only(tmp_path_factory):
    """`main` in an empty folder, stopped where a valid command line would be carried out; the outcomes so far."""
    outcomes, folder = Counter(), tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for module, names in ((launch, ("train", "resume")), (commands, ("execute",))):
            for name in names:
                patch.setattr(module, name, lambda given: 0)
        yield outcomes
    assert outcomes[0] > 100 and outcomes[2] > 1000 and list(folder.iterdir()) == [], outcomes


@settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(command_lines())
def test_a_generated_command_line_is_valid_or_refused_in_one_line_with_code_2(parsed_only, argv):
    if {"-h", "--help", "--list_presets"} & set(argv):
        return
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = main(argv)
    parsed_only[code] += 1
    told = err.getvalue()
    if code:
        assert code == 2 and told.startswith("error: ") and told.endswith("\n"), told
        assert told[:-1].isprintable() and len(told) < 1000, told
    else:
        assert told == ""
