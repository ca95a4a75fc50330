import dataclasses
import subprocess
import sys
import time

import pytest

from main import main
from vae.config import Config
from vae.config.cli import parse_args, parse_command
from vae.config.options import COMMANDS
from vae.system.errors import UsageError

BAD = [
    (["--num_epochs", "0"], "--num_epochs 0: must be at least 1"),
    (["--batch_size", "-3"], "--batch_size -3: must be at least 1"),
    (["--lr", "0"], "--lr 0.0: must be above 0"),
    (["--lr", "nan"], "--lr nan: expected a finite number"),
    (["--lr", "fast"], "invalid float value: 'fast'"),
    (["--weight_decay", "inf"], "finite"),
    (["--val_split", "1"], "--val_split 1.0: must be below 1"),
    (["--latent_dim", "2.5"], "invalid int value"),
    (["--hidden_dims"], "expected at least one argument"),
    (["--hidden_dims", "512", "0"], "--hidden_dims 0"),
    (["--dataset", "mnits"], "choose from auto, mnist"),
    (["--device", "gpu"], "--device 'gpu': expected auto, cpu"),
    (["--epochs", "3"], "unknown flag --epochs (did you mean --num_epochs?)"),
    (["--num_epoch", "3"], "unknown flag --num_epoch (did you mean --num_epochs?)"),
    (["--no_such"], "unknown flag --no_such (see python main.py --help)"),
    (["trian"], "unknown command 'trian' (did you mean train?)"),
    (["smaple", "--digit", "3"], "unknown command 'smaple' (did you mean sample?)"),
    (["--quiet", "sample"], "unexpected argument 'sample' (a command comes first)"),
    (["sample", "--num_sample", "3"], "unknown flag --num_sample (did you mean --num_samples?)"),
    (["sample", "3"], "unexpected argument '3' (see python main.py sample --help)"),
    (["sample", "--temperature", "-1"], "--temperature -1.0: must be at least 0"),
    (["sample", "--digit"], "expected at least one argument (see python main.py sample --help)"),
    (["sample", "--num_samples", "5000"], "a grid shows 2,500"),
    (["sample", "--run", "a", "--checkpoint", "b"], "--run and --checkpoint name two models"),
    (["interpolate", "--images", "3"], "expected 2 arguments"),
    (["interpolate", "--random", "--digits", "3", "8"], "give one of them"),
    (["traverse", "--top", "0"], "--top 0: must be at least 1"),
    (["embed", "--split", "all"], "choose from train, val, test"),
    (["gif", "--milliseconds", "1"], "--milliseconds 1"),
    (["--gif", "--sample_every", "0"], "--gif animates the pictures of --sample_every"),
    (["evaluate", "--device", "gpu"], "--device 'gpu': expected auto, cpu"),
    (["--device", "cuda:007"], "--device 'cuda:007': expected auto, cpu"),
    (["--device", "cuda:３"], "--device 'cuda:３': expected auto, cpu"),
    (["--run_name", "../x"], "--run_name '../x'"),
    (["--run_name", "/tmp/x"], "--run_name '/tmp/x'"),
    (["--run_name", ".."], "--run_name '..'"),
    (["--run_name", "latest"], "taken by the project"),
    (["--run_name", "a" * 200], "200 bytes long"),
    (["--run_name", "a\x1b[31m"], "unprintable"),
    (["--seed", str(2**63)], "--seed"),
    (["--lr", "-1e-3"], "--lr -0.001: must be above 0"),
    (["--overwrite"], "--overwrite replaces the run that --run_name names"),
    (["--output_dir", "x", "--log_dir", "./x"], "give each a folder of its own"),
    (["--num_epochs", "2", "--kl_warmup_epochs", "3"], "--kl_warmup_epochs 3 is longer than the run"),
    (["--preset", "mlp-3d"], "--preset 'mlp-3d': choose from mlp-2d"),
    (["--free_bits", "-0.1"], "--free_bits -0.1: must be at least 0"),
    (["--free_bits", "1e39"], "--free_bits 1e+39: must be at most"),
    (["--output_dir", "a\x1b[31m"], "unprintable"),
    (["--beta", "-1"], "--beta -1.0"),
    (["--arch", "conv", "--image_size", "30"], "must be a multiple of 4"),
    (["--image_size", "2"], "--image_size 2: must be at least 4"),
    (["--binarize", "dynamic", "--recon_loss", "mse"], "use bce with --binarize"),
    (["--optimizer", "adam", "--weight_decay", "0.1"], "adam has none here"),
    (["--base_channels", "0"], "--base_channels 0"),
    (["--activation", "sigmoid"], "choose from relu"),
    (["--lr_schedule", "linear"], "choose from constant, cosine"),
    (["--grad_clip", "-1"], "--grad_clip -1.0"),
    (["--kl_warmup_epochs", "nan"], "finite"),
    (["--precision", "fp8"], "choose from auto, fp32"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[" ".join(argv)[:30] for argv, _ in BAD])
def test_a_mistake_gets_one_line_and_exit_code_2(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_given_is_returned():
    assert parse_args([]) == {}
    assert parse_args(["--lr", "0.5", "--hidden_dims", "3", "4"]) == {"lr": 0.5, "hidden_dims": (3, 4)}
    assert parse_args(["train", "--lr", "0.5"]) == {"lr": 0.5}


def test_hyphens_are_accepted_for_underscores():
    assert parse_args(["--num-epochs=3", "--run-name", "a-b"]) == {"num_epochs": 3, "run_name": "a-b"}


def test_the_defaults_are_the_readme_s_recipe():
    config = Config()
    assert (config.num_epochs, config.batch_size, config.lr, config.weight_decay) == (60, 64, 1e-3, 1e-2)
    assert (config.latent_dim, config.hidden_dims, config.dataset, config.val_split) == (2, (512,), "auto", 0.0)


def test_a_config_survives_its_plain_form():
    config = Config(hidden_dims=(3, 4), lr=0.5)
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict({**config.to_dict(), "hidden_dims": [3, 4]}) == config
    with pytest.raises(UsageError, match="unknown entries: 'colour'"):
        Config.from_dict({"colour": "red"})


def test_a_value_of_the_wrong_type_is_refused_from_python_too():
    with pytest.raises(UsageError, match="--batch_size '64': expected int"):
        Config(batch_size="64")
    with pytest.raises(UsageError, match="--hidden_dims 512: expected a list"):
        Config(hidden_dims=512)
    with pytest.raises(UsageError, match="expected one value"):
        Config(latent_dim=(2,))


def test_a_line_without_a_command_trains():
    for argv in ([], ["--num_epochs", "60"], ["train", "--num_epochs", "60"]):
        assert parse_command(argv) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_help_names_its_knobs_and_examples_without_torch(name):
    run = f"try: main([{name!r}, '--help'])\nfinally: assert 'torch' not in sys.modules"
    code = f"import sys; from main import main\n{run}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for field in dataclasses.fields(COMMANDS[name]):
        assert f"--{field.name}" in done.stdout
    assert f"python main.py {name}" in done.stdout and max(map(len, done.stdout.splitlines())) <= 120
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        assert parse_command(example.split()), example


def test_help_names_every_knob_and_its_default_without_torch():
    started = time.perf_counter()
    code = "import sys; from main import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 2
    for field in dataclasses.fields(Config):
        assert f"--{field.name}" in done.stdout
    assert "(default: 0.001)" in done.stdout and "--resume" in done.stdout
    assert all(f"  {name}" in done.stdout for name in COMMANDS)
    assert max(map(len, done.stdout.splitlines())) <= 120
