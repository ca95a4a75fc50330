import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import MAIN, ROOT

import vae
from main import main
from vae import commands
from vae.config import Config
from vae.config.cli import parse_args, parse_command
from vae.config.config import stored_config
from vae.config.options import COMMANDS
from vae.config.parsers import MAIN_FLAGS
from vae.runs import launch
from vae.system.errors import UsageError
from vae.system.files import FileError

BAD = [
    (["--num_epochs", "0"], "--num_epochs 0: must be at least 1"),
    (["--batch_size", "-3"], "--batch_size -3: must be at least 1"),
    (["--lr", "0"], "--lr 0.0: must be above 0"),
    (["--lr", "nan"], "--lr: expected a finite number"),
    (["--lr", "fast"], "invalid float value: 'fast'"),
    (["--val_split", "1"], "--val_split 1.0: must be below 1"),
    (["--latent_dim", "2.5"], "invalid int value"),
    (["--hidden_dims"], "expected at least one argument"),
    (["--hidden_dims", "512", "0"], "--hidden_dims 0"),
    (
        ["--dataset", "mnits"],
        "choose from auto, mnist, fashion_mnist, kmnist, digits, folder, arrays (did you mean mnist?)",
    ),
    (["--device", "gpu"], "--device 'gpu': expected auto, cpu"),
    (["--epochs", "3"], "unknown flag --epochs (did you mean --num_epochs?)"),
    (["--dataset", "MNIST"], "(did you mean mnist?)"),
    (["--arch", "xyz"], "choose from mlp, conv, mixer\n"),
    (["--preset", "mlp20d"], "choose from mlp-2d, conv-2d, mlp-64d"),
    (["--preset", "mlp20d"], "(did you mean mlp-20d?)"),
    (["--no_such"], "unknown flag --no_such (see python main.py --help all)"),
    (["--lr"], "expected one argument (see python main.py --help all)"),
    (["helo"], "unknown command 'helo' (did you mean help?)"),
    (["help", "smaple"], "unknown command 'smaple' (did you mean sample?)"),
    (["--help", "lr"], "unknown command 'lr'"),
    (["--help", "al"], "(did you mean all?)"),
    (["sample", "--format", "nzp"], "(did you mean npz?)"),
    (["smaple", "--digit", "3"], "unknown command 'smaple' (did you mean sample?)"),
    (["--quiet", "sample"], "unexpected argument 'sample' (a command comes first)"),
    (["sample", "--num_sample", "3"], "unknown flag --num_sample (did you mean --num_samples?)"),
    (["sample", "3"], "unexpected argument '3' (see python main.py sample --help)"),
    (["sample", "--temperature", "-1"], "--temperature -1.0: must be at least 0"),
    (["sample", "--digit"], "expected at least one argument (see python main.py sample --help)"),
    (["sample", "--num_samples", "5000"], "a grid shows at most 2,500"),
    (["sample", "--run", "a", "--checkpoint", "b"], "--run and --checkpoint name two models"),
    (["interpolate", "--images", "3"], "expected 2 arguments"),
    (["interpolate", "--random", "--digits", "3", "8"], "give one of them"),
    (["list", "--output", "runs.txt"], "expected a file ending in .csv or .json"),
    (["list", "--run", "x"], "unknown flag --run"),
    (["compare"], "name two or more, or give --all"),
    (["compare", "a", "--all"], "give it, or the runs"),
    (["--seeds", "1"], "--seeds 1: give two or more"),
    (["--seeds", "1", "2", "1"], "--seeds names 1 more than once"),
    (["--seeds", "1", "-2"], "--seeds -2: must be from 0"),
    (["--seeds", "1", "2", "--seed", "3"], "--seeds and --seed exclude each other"),
    (["--seeds", "1", "2", "--resume", "x"], "--seeds and --resume exclude each other"),
    (["traverse", "--top", "0"], "--top 0: must be at least 1"),
    (["embed", "--split", "all"], "choose from train, val, test"),
    (["gif", "--milliseconds", "1"], "--milliseconds 1"),
    (["--gif", "--sample_every", "0"], "--gif animates the pictures of --sample_every"),
    (["--device", "cuda:３"], "--device 'cuda:３': expected auto, cpu"),
    (["--run_name", "../x"], "--run_name '../x'"),
    (["--run_name", "latest"], "is reserved"),
    (["--run_name", "a" * 200], "200 bytes long"),
    (["--seed", str(2**63)], "--seed"),
    (["--lr", "-1e-3"], "--lr -0.001: must be above 0"),
    (["--overwrite"], "--overwrite replaces the run that --run_name names"),
    (["--output_dir", "x", "--log_dir", "./x"], "give each a folder of its own"),
    (["--num_epochs", "2", "--kl_warmup_epochs", "3"], "--kl_warmup_epochs 3 is longer than the run"),
    (["--patch_size", "7"], "--patch_size 7 is for mixtures and mixers: give --mixture_components 4"),
    (["--mixture_components", "4"], "--mixture_components 4 gives binary pixels a probability: use --binarize"),
    (
        ["--mixture_components", "4", "--binarize", "static", "--patch_size", "5"],
        "--patch_size 5: must divide --image_size 28",
    ),
    (["--augment_labels", "--augment", "0.5"], "--augment_labels conditions a flow prior on distortions"),
    (["--free_bits", "-0.1"], "--free_bits -0.1: must be at least 0"),
    (["--free_bits", "1e39"], "--free_bits 1e+39: must be at most"),
    (["--elbo_until", "0.5"], "--elbo_until 0.5 comes before another bound: give --objective dreg, or --elbo_until 0"),
    (["--tc_weight", "6", "--preset", "record"], "use --prior standard, --objective elbo and no --free_bits"),
    (["--tc_weight", "6", "--free_bits", "0.1"], "--tc_weight weighs a part of the whole KL"),
    (["--tc_weight", "6", "--latent_dim", "1"], "--tc_weight needs --latent_dim 2 or more"),
    (["--tc_weight", "6", "--batch_size", "1"], "--tc_weight needs --batch_size 2 or more"),
    (["--output_dir", "a\x1b[31m"], "unprintable"),
    (["--beta", "-1"], "--beta -1.0"),
    (["--arch", "mixer", "--patch_size", "5"], "--patch_size 5: must divide --image_size 28"),
    (["--arch", "conv", "--image_size", "30"], "must be a multiple of 4"),
    (["--image_size", "2"], "--image_size 2: must be at least 4"),
    (["--binarize", "dynamic", "--recon_loss", "mse"], "use bce with --binarize"),
    (["--base_channels", "0"], "--base_channels 0"),
    (["--negative_slope", "0.2"], "--negative_slope is for leaky_relu, and --activation is relu"),
    (["--activation", "leaky_relu", "--negative_slope", "1"], "--negative_slope 1.0: must be below 1"),
    (["--grad_clip", "-1"], "--grad_clip -1.0"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[" ".join(argv)[:30] for argv, _ in BAD])
def test_a_mistake_gets_one_line_and_exit_code_2(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_line_without_a_command_trains_and_only_what_was_given_is_returned():
    assert all(parse_command(argv) is None for argv in ([], ["--lr", "0.5"], ["train", "--lr", "0.5"]))
    assert parse_args([]) == {}
    assert parse_args(["--lr", "0.5", "--hidden_dims", "3", "4"]) == {"lr": 0.5, "hidden_dims": (3, 4)}
    assert parse_args(["train", "--lr", "0.5"]) == {"lr": 0.5}


def test_hyphens_are_accepted_for_underscores():
    assert parse_args(["--num-epochs=3", "--run-name", "a-b"]) == {"num_epochs": 3, "run_name": "a-b"}


def test_a_config_survives_its_plain_form():
    config = Config(hidden_dims=(3, 4), lr=0.5)
    for values in (config.to_dict(), json.loads(json.dumps(config.to_dict()))):  # JSON has lists in place of tuples
        assert stored_config(values, Path("x.json")) == config
    assert stored_config({"mixture_components": 4, "binarize": "static", "mixture_patch": 2}, Path("x")).patch_size == 2
    assert stored_config({"elastic": 0.0}, Path("x.json")) == Config()
    with pytest.raises(FileError, match=r"x\.json is damaged.* unknown entries: 'elastic'"):
        stored_config({"elastic": 0.4}, Path("x.json"))
    with pytest.raises(FileError, match=r"x\.json is damaged.* unknown entries: 'colour'"):
        stored_config({"colour": "red"}, Path("x.json"))


def test_a_value_of_the_wrong_type_is_refused_from_python_too():
    for knobs, message in (
        ({"batch_size": "64"}, "--batch_size: expected int, not str"),
        ({"hidden_dims": 512}, "--hidden_dims: expected a tuple of values, not int"),
        ({"latent_dim": (2,)}, "--latent_dim: expected int, not tuple"),
        ({"num_epochs": 10**5000}, "--num_epochs: expected a finite number"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            Config(**knobs)


def printed(argv, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(argv)
    out, err = capsys.readouterr()
    assert not err
    return out


@pytest.fixture
def terminal(monkeypatch):
    """Make the terminal as wide as a number says."""
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_help_names_its_knobs_and_examples(name, terminal, capsys):
    terminal(80)
    help = printed([name, "--help"], capsys)
    for field in dataclasses.fields(COMMANDS[name]):
        assert (f"  {field.metadata['metavar']}" if field.metadata["positional"] else f"--{field.name}") in help
    assert f"python main.py {name}" in help and max(map(len, help.splitlines())) <= 80
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        assert parse_command(example.split()), example
    assert help == printed([name, "-h"], capsys) == printed(["help", name], capsys) == printed(["-h", name], capsys)


def test_the_short_help_has_every_command_in_a_line_and_ten_flags(terminal, capsys):
    terminal(80)
    help = printed(["--help"], capsys)
    assert help == printed(["help"], capsys) == printed(["-h"], capsys)
    lines = help.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) <= 60
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.purpose)}$", help, re.MULTILINE), name
    assert re.findall(r"^  --(\w+)", help, re.MULTILINE) == list(MAIN_FLAGS)
    assert len(MAIN_FLAGS) == 10 and help.index("  train ") < help.index("  --preset") and "--help all" in help


@pytest.mark.parametrize("argv", [["--help", "all"], ["help", "all"], ["train", "--help"], ["help", "train"]])
def test_the_whole_help_names_every_knob_and_its_default(argv, terminal, capsys):
    terminal(80)
    help = printed(argv, capsys)
    for field in dataclasses.fields(Config):
        assert f"--{field.name}" in help
    assert "(default: 0.001)" in help and "--resume" in help and "--config" in help
    assert max(map(len, help.splitlines())) <= 80


@pytest.mark.parametrize("argv", [["--version"], ["version"]])
def test_the_version_is_the_package_s(argv, capsys):
    assert printed(argv, capsys) == f"vae-mnist {vae.__version__}\n"


@pytest.mark.parametrize("argv", [["sample"], ["--lr", "0.5"]])
@pytest.mark.parametrize(("is_terminal", "flags"), [(True, []), (True, ["--quiet"]), (False, [])])
def test_someone_at_a_terminal_is_told_that_the_program_starts(argv, is_terminal, flags, monkeypatch, capsys):
    monkeypatch.setattr(launch, "train", lambda given: 0)
    monkeypatch.setattr(commands, "execute", lambda options: 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert main([*argv, *flags]) == 0
    out, err = capsys.readouterr()
    assert out == "" and err == ("starting ...\n" if is_terminal and not flags else "")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main([*argv, *flags]) == 0
    assert capsys.readouterr().err == ""


def test_help_ends_quietly_when_its_reader_leaves():
    process = subprocess.Popen([sys.executable, MAIN, "--help", "all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with process.stderr as stream:
        assert (process.wait(), stream.read()) == (0, b"")


def test_help_and_refused_flags_import_nothing_heavy():
    code = """
import sys
from main import main
from vae.config.config import stored_config
from vae.config.options import COMMANDS
lines = ["--help", "--help all", "--list_presets", "--version", "--no_such", *(f"{name} --help" for name in COMMANDS)]
for argv in map(str.split, lines):
    try:
        main(argv)
    except SystemExit:
        pass
heavy = {"torch", "numpy", "matplotlib", "sklearn", "PIL", "tqdm", "yaml"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_seeds_on_the_line_take_the_place_of_a_files_seed_and_the_other_way_round(tmp_path):
    (tmp_path / "one.yaml").write_text("lr: 0.5\nseed: 3\n")
    (tmp_path / "many.yaml").write_text("lr: 0.5\nseeds: [3, 4]\n")
    one, many = (["--config", str(tmp_path / f"{name}.yaml")] for name in ("one", "many"))
    assert parse_args([*one, "--seeds", "1", "2"]) == {"lr": 0.5, "seeds": (1, 2)}
    assert parse_args([*many, "--seed", "1"]) == {"lr": 0.5, "seed": 1}
    assert parse_args(many) == {"lr": 0.5, "seeds": (3, 4)}
