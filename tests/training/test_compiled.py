"""The compiled step does what the operations do, and a run without a compiler goes on without it."""

import copy
import dataclasses
import json
import math
import shutil

import pytest
import torch
from small_runs import load_state, run_main

from vae.config import Config
from vae.data.datasets import Split
from vae.model.build import build_model
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.errors import UsageError
from vae.training.compiled import should_compile
from vae.training.divergence import DivergedError
from vae.training.epoch import compile_step, train_epoch
from vae.training.optimizer import build_optimizer

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """What is compiled here is compiled anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


def images(count=75):
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(pixels, torch.arange(count) % 10)


def begin(config):
    """A model, its optimizer and generator after an epoch."""
    torch.manual_seed(0)
    model = build_model(config, image_shape=(1, 8, 8), num_classes=10)
    optimizer, generator = build_optimizer(config, model), torch.Generator().manual_seed(0)
    train_epoch(model, images(), optimizer, config, epoch=1, generator=generator)
    return model, optimizer, generator


RECIPES = {
    "plain": {"grad_clip": 0.1, "free_bits": 0.2, "conditional": True},
    "conv": {"arch": "conv", "base_channels": 4, "recon_loss": "mse", "optimizer": "adam", "weight_decay": 0.0},
    "record": {
        **{"block": "residual", "prior": "flow", "num_couplings": 2, "prior_width": 8, "kl_warmup_epochs": 3.0},
        **{"objective": "dreg", "num_samples_train": 3, "binarize": "dynamic", "augment": 0.5},
    },
}


@needs_compiler
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_trains_as_the_operations_do(recipe):
    """Seven whole batches and one of five images, against torch's own Adam; the same noise, equal within rounding."""
    config = Config(**{"batch_size": 10, "precision": "fp32", "hidden_dims": (12,), "lr": 0.01, **RECIPES[recipe]})
    eager = begin(config)
    compiled = begin(config)
    before = copy.deepcopy((compiled[0].state_dict(), compiled[1].state_dict()))
    step = compile_step(compiled[0], images(), compiled[1], config)
    torch.testing.assert_close((compiled[0].state_dict(), compiled[1].state_dict()), before, rtol=0, atol=0)
    rows = []
    for (model, optimizer, generator), taken in ((eager, None), (compiled, step)):
        rows += [
            train_epoch(model, images(), optimizer, config, epoch=2, generator=generator, compiled=taken),
            train_epoch(model, images(), optimizer, config, epoch=3, generator=generator, compiled=taken),
        ]
    assert rows[2] == pytest.approx(rows[0], rel=1e-4) and rows[3] == pytest.approx(rows[1], rel=1e-4)
    torch.testing.assert_close(compiled[0].state_dict(), eager[0].state_dict(), rtol=1e-3, atol=1e-4)
    found, expected = (parts[1].state_dict()["state"] for parts in (compiled, eager))
    assert {float(state["step"]) for state in found.values()} == {24.0}
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


@needs_compiler
def test_weights_stand_still_from_the_step_that_left_the_numbers():
    config = Config(batch_size=10, precision="fp32", hidden_dims=(12,), lr=0.01)
    model, optimizer, generator = begin(config)
    step = compile_step(model, images(), optimizer, config)
    with torch.no_grad():
        model.encoder.head.bias[0] = math.nan
    before = copy.deepcopy((model.decoder.state_dict(), optimizer.state_dict()))
    with pytest.raises(DivergedError, match=r"KL term was|reconstruction term was"):
        train_epoch(model, images(), optimizer, config, epoch=2, generator=generator, compiled=step)
    torch.testing.assert_close(
        (model.decoder.state_dict(), optimizer.state_dict()["state"]), (before[0], before[1]["state"])
    )


@needs_compiler
def test_a_gradient_that_is_no_number_is_told_from_a_loss_that_is_none():
    """With a huge rate the weights overflow first; the message names them and their step, as without the compiler."""
    told = []
    for compiles in (False, True):
        config = Config(batch_size=10, precision="fp32", hidden_dims=(12,), lr=1e30)
        model, optimizer, generator = begin(dataclasses.replace(config, lr=0.01))
        step = compile_step(model, images(), optimizer, config) if compiles else None
        with pytest.raises(DivergedError) as raised:
            train_epoch(model, images(), optimizer, config, epoch=2, generator=generator, compiled=step)
        told.append(str(raised.value))
    assert told[0] == told[1]


@needs_compiler
def test_a_compiled_run_resumes_with_the_same_bits(tmp_path, capsys):
    flags = ["--run_name", "x", "--compile", "on", "--sample_every", "0"]
    assert run_main(tmp_path / "whole", *flags, "--num_epochs", "3") == 0
    assert "compiled in" in capsys.readouterr().out
    assert run_main(tmp_path / "parts", *flags, "--num_epochs", "2") == 0
    assert run_main(tmp_path / "parts", "--resume", str(tmp_path / "parts/outputs/x"), "--num_epochs", "3") == 0
    whole, parts = (load_state(tmp_path / name / "outputs/x") for name in ("whole", "parts"))
    torch.testing.assert_close(parts["model_state"], whole["model_state"], rtol=0, atol=0)


@pytest.fixture
def no_compiler(tmp_path, monkeypatch):
    """As on a machine that has none; the graph must be another than all that this process has compiled."""
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("vae.training.compiled.WORTH_STEPS", 1)
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        yield


def test_without_a_compiler_a_run_goes_on(tmp_path, no_compiler, capsys):
    flags = ["--run_name", "x", "--num_epochs", "2", "--sample_every", "0", "--hidden_dims", "21"]
    assert run_main(tmp_path / "auto", *flags) == 0
    assert "note: the training step can't be compiled" in capsys.readouterr().out
    assert run_main(tmp_path / "off", *flags, "--compile", "off") == 0
    rows = [(tmp_path / name / "outputs/x/metrics.jsonl").read_text().splitlines()[1] for name in ("auto", "off")]
    assert json.loads(rows[0])["train/loss"] == json.loads(rows[1])["train/loss"]


def test_without_a_compiler_a_run_that_asks_for_it_stops(tmp_path, no_compiler, capsys):
    assert run_main(tmp_path, "--num_epochs", "2", "--compile", "on", "--hidden_dims", "23") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "no-such-compiler" in err and "--compile auto" in err


def test_an_environment_that_forbids_compiling_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    assert run_main(tmp_path, "--num_epochs", "2", "--compile", "on") == 1
    assert "TORCHDYNAMO_DISABLE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("knobs", "device", "processes", "expected"),
    [
        ({}, "cpu", SINGLE_PROCESS, True),
        ({"num_epochs": 9}, "cpu", SINGLE_PROCESS, False),
        ({"num_epochs": 9, "compile": "on"}, "cpu", SINGLE_PROCESS, True),
        ({"compile": "off"}, "cpu", SINGLE_PROCESS, False),
        ({}, "cuda", SINGLE_PROCESS, True),
        ({}, "mps", SINGLE_PROCESS, False),
        ({"precision": "fp16"}, "cpu", SINGLE_PROCESS, False),
        ({}, "cpu", ProcessGroup(0, 2), False),
        ({"batch_size": 60_001, "num_epochs": 10_000}, "cpu", SINGLE_PROCESS, False),
    ],
)
def test_auto_compiles_where_it_wins(knobs, device, processes, expected):
    config = Config(**knobs)
    assert should_compile(config, torch.device(device), processes, images=60_000) is expected
    if not expected and knobs.get("compile") != "off" and knobs != {"num_epochs": 9}:
        with pytest.raises(UsageError, match="--compile on"):
            should_compile(Config(**knobs, compile="on"), torch.device(device), processes, images=60_000)
