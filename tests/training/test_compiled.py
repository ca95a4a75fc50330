"""The compiled step trains as PyTorch's operations do, and a run on a machine without a compiler uses these."""

import copy
import dataclasses
import json
import math
import shutil

import pytest
import torch
from small_runs import load_state, run_main
from torch import nn

from vae.config import Config
from vae.data.splits import Split
from vae.model.build import build_model
from vae.model.objective import Batch, Objective
from vae.model.vae import VAE
from vae.system.errors import UsageError
from vae.training.compiled import CompiledStep, should_compile
from vae.training.divergence import DivergedError
from vae.training.epoch import train_epoch
from vae.training.optimizer import build_optimizer
from vae.training.step import TrainingStep

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")


def images(count=75):
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(pixels, torch.arange(count) % 10)


def begin(config):
    """A step and its generator after an epoch."""
    torch.manual_seed(0)
    model = build_model(config, image_shape=(1, 8, 8), num_classes=10)
    step, generator = TrainingStep(model, build_optimizer(config, model), config), torch.Generator().manual_seed(0)
    train_epoch(step, images(), epoch=1, generator=generator)
    return step, generator


def compile_step(step):
    step.compile(images(), epoch=2)


def weights_and_means(step):
    """Copies of all that a step changes."""
    return copy.deepcopy((step.model.state_dict(), step.optimizer.state_dict()["state"]))


CONV: dict = {
    **{"arch": "conv", "base_channels": 4, "recon_loss": "mse", "optimizer": "adam", "weight_decay": 0.0},
    **{"grad_clip": 0.1, "free_bits": 0.2, "conditional": True},
}
DREG: dict = {
    **{"objective": "dreg", "num_samples_train": 3, "binarize": "dynamic", "augment": 0.5, "ema": 0.9},
    **{"kl_warmup_epochs": 3.0, "grad_clip": 0.1},
}
RECORD: dict = {
    **DREG,
    **{"block": "residual", "prior": "flow", "num_couplings": 2, "prior_width": 8, "augment_labels": True},
}
CORRELATED: dict = {"latent_dim": 3, "tc_weight": 6.0, "num_samples_train": 2}
RECIPES = [
    pytest.param(DREG, id="dreg"),
    pytest.param(RECORD, marks=pytest.mark.slow, id="record"),
    pytest.param(CONV, marks=pytest.mark.slow, id="conv"),
    pytest.param(CORRELATED, marks=pytest.mark.slow, id="tc_weight"),
]


def configured(**knobs):
    return Config(**{"batch_size": 10, "precision": "fp32", "hidden_dims": (12,), "lr": 0.01, **knobs})


@needs_compiler
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_compiled_step_trains_as_the_operations_do(recipe):
    """Seven full batches and one of five images, against torch's own Adam; the same noise, equal within rounding."""
    config = configured(**recipe)
    (eager, eager_noise), (compiled, compiled_noise) = begin(config), begin(config)
    before = weights_and_means(compiled)
    compile_step(compiled)
    torch.testing.assert_close(weights_and_means(compiled), before, rtol=0, atol=0)
    for epoch in (2, 3):
        expected = train_epoch(eager, images(), epoch=epoch, generator=eager_noise)
        metrics = train_epoch(compiled, images(), epoch=epoch, generator=compiled_noise)
        assert metrics == pytest.approx(expected, rel=1e-4)
    (weights, means), (expected_weights, expected_means) = map(weights_and_means, (compiled, eager))
    torch.testing.assert_close(weights, expected_weights, rtol=1e-3, atol=1e-4)
    assert {float(state["step"]) for state in means.values()} == {24.0}
    torch.testing.assert_close(means, expected_means, rtol=1e-2, atol=1e-4)


def test_counts_and_biases_are_one_vector_each_for_the_compiler_however_many_there_are():
    """It takes a second for every two weights that have loops of their own."""
    step, _ = begin(configured(**RECORD))
    CompiledStep(torch.nn.Identity(), step.optimizer, size=10)
    state = [step.optimizer.state[weights] for weights in step.model.parameters()]
    biases = [entry for entry, weights in zip(state, step.model.parameters(), strict=True) if weights.ndim == 1]
    for entries, name in ((state, "step"), (biases, "exp_avg"), (biases, "exp_avg_sq")):
        assert len({entry[name].untyped_storage().data_ptr() for entry in entries}) == 1 < len(entries), name


@needs_compiler
def test_the_weights_don_t_move_from_the_first_term_on_that_is_not_finite():
    step, generator = begin(configured(**DREG))
    compile_step(step)
    with torch.no_grad():
        next(step.model.encoder.parameters()).fill_(math.nan)
    before = weights_and_means(step)
    with pytest.raises(DivergedError, match=r"KL term was|reconstruction term was"):
        train_epoch(step, images(), epoch=2, generator=generator)
    torch.testing.assert_close(weights_and_means(step), before, rtol=0, atol=0, equal_nan=True)


@needs_compiler
def test_weights_that_overflow_are_named_as_they_are_without_the_compiler():
    messages = []
    for compiles in (False, True):
        step, generator = begin(configured(**DREG))
        if compiles:
            compile_step(step)
        step.config = dataclasses.replace(step.config, lr=1e30)
        with pytest.raises(DivergedError) as raised:
            train_epoch(step, images(), epoch=2, generator=generator)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


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
    """As on a machine that has none; for a graph that this process hasn't compiled yet."""
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("vae.training.compiled.WORTH_STEPS", 1)
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        yield


def test_without_a_compiler_a_run_goes_on(tmp_path, no_compiler, capsys):
    flags = ["--run_name", "x", "--num_epochs", "2", "--sample_every", "0", "--hidden_dims", "21"]
    assert run_main(tmp_path / "auto", *flags) == 0
    out, err = capsys.readouterr()
    assert "note: the training step can't be compiled" in out and "Traceback" not in err
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
    ("knobs", "device", "expected"),
    [
        ({}, "cpu", True),
        ({"num_epochs": 9}, "cpu", False),
        ({"num_epochs": 9, "compile": "on"}, "cpu", True),
        ({"compile": "off"}, "cpu", False),
        ({}, "cuda", True),
        ({}, "mps", False),
        ({"precision": "fp16"}, "cpu", False),
        ({"batch_size": 60_001, "num_epochs": 10_000}, "cpu", False),
    ],
)
def test_auto_compiles_where_it_wins(knobs, device, expected):
    config = Config(**knobs)
    assert should_compile(config, torch.device(device), images=60_000) is expected
    if not expected and knobs.get("compile") != "off" and knobs != {"num_epochs": 9}:
        with pytest.raises(UsageError, match="--compile on"):
            should_compile(Config(**knobs, compile="on"), torch.device(device), images=60_000)


def test_compiling_leaves_a_batch_norm_s_means_alone(monkeypatch):
    """They move with every pass, and a resumed run compiles once more than an unbroken one."""
    monkeypatch.setattr(torch, "compile", lambda step, **options: step)
    norm = nn.BatchNorm1d(64)
    decoder = nn.Sequential(nn.Linear(2, 64), norm, nn.Unflatten(1, (1, 8, 8)))
    model = VAE(2, decoder=decoder, hidden_dims=(8,), image_shape=(1, 8, 8))
    config = Config(batch_size=4)
    optimizer = build_optimizer(config, model)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    compiled = CompiledStep(Objective(model, config), optimizer, size=4)
    batch = Batch(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), torch.randn(4, 2))
    compiled.compile(batch)
    assert norm.num_batches_tracked == 0 and not norm.running_mean.any()
    compiled(batch, lr=0.1, beta=1.0, number=2, halted=torch.zeros(()))
    assert norm.num_batches_tracked == 1
