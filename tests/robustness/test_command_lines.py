"""Generated command lines: each is valid, or refused in one line."""

import contextlib
import io
import os
import string
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from main import main
from vae import commands
from vae.config.options import COMMANDS
from vae.config.parsers import build_command_parser, build_parser
from vae.runs import launch

EXAMPLES = int(os.environ.get("VAE_COMMAND_LINES", "600"))


def flags_of(parser):
    flags = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    return [flag for flag in flags if flag not in ("--help", "--list_presets", "--version")]


FLAGS = {"train": flags_of(build_parser())}
FLAGS |= {name: flags_of(build_command_parser(command)) for name, command in COMMANDS.items()}
WORDS = st.one_of(
    st.sampled_from(["auto", "mnist", "digits", "cpu", "adamw", "conv", "mse", "dynamic", "mlp-2d", "png", "pca"]),
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
    assert outcomes[0] > EXAMPLES / 25 and outcomes[2] > EXAMPLES / 3 and list(folder.iterdir()) == [], outcomes


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True, database=None)
@given(command_lines())
def test_a_generated_command_line_is_valid_or_refused_in_one_line_with_code_2(parsed_only, argv):
    if {"-h", "--help", "--list_presets"} & set(argv):
        return
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = main(argv)
    parsed_only[code] += 1
    message = err.getvalue()
    if code:
        assert code == 2 and message.startswith("error: ") and message.endswith("\n"), message
        assert message[:-1].isprintable() and len(message) < 1000, message
    else:
        assert message == ""
