"""What a learner refuses, what it leaves alone, and how it continues from a checkpoint."""

import io
import shutil
from pathlib import Path

import pytest
import torch

from vae.config import Config, presets
from vae.data.datasets import load_splits
from vae.system import memory
from vae.system.checkpoint import CheckpointError
from vae.system.distributed import SINGLE_PROCESS
from vae.system.memory import TooLargeError
from vae.training.learner import Learner, check_memory

GB = 10**9
CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory there seems to be."""
    return lambda size: monkeypatch.setattr(memory, "available", lambda device: size)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data"))


def make(splits, **knobs):
    config = Config(**{"batch_size": 500, "precision": "fp32", "hidden_dims": (8,), **knobs})
    return Learner(config, splits, processes=SINGLE_PROCESS)


def check(shape=(1, 28, 28), images=60_000, **knobs):
    check_memory(Config(**knobs), shape, num_classes=10, images=images, device=CPU)


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_preset_fits_into_a_small_machine(free, preset):
    free(GB // 2)
    check_memory(presets.configure({"preset": preset}), (1, 28, 28), num_classes=10, images=60_000, device=CPU)


def test_a_batch_is_no_larger_than_the_data(free):
    free(GB)
    check(batch_size=1_000_000)


TOO_LARGE = {
    "--batch_size 60000": {"batch_size": 60_000, "arch": "conv"},
    "--batch_size 20000": {"batch_size": 20_000, "tc_weight": 6.0},
    "--num_samples_train 10000": {"num_samples_train": 10_000, "batch_size": 1000, "objective": "iwae"},
    "--hidden_dims 65536 65536": {"hidden_dims": (65536, 65536)},
    "--batch_size 50000": {"batch_size": 50_000, "arch": "mixer"},
    "--mixer_blocks 1000": {"mixer_blocks": 1000, "patch_width": 256, "arch": "mixer"},
    "--patch_width 65536": {"patch_width": 65536, "arch": "mixer"},
    "--base_channels 4096": {"base_channels": 4096, "arch": "conv"},
    "--num_pseudo_inputs 100000": {"num_pseudo_inputs": 100_000, "prior": "vamp", "conditional": False},
    "--prior_width 65536": {"prior_width": 65536, "prior": "flow"},
}


@pytest.mark.parametrize("flag", TOO_LARGE)
def test_a_training_that_is_too_large_names_the_flag_to_lower_and_both_numbers(free, flag):
    free(GB)
    with pytest.raises(TooLargeError, match=rf"^{flag}: training would take at least [\d.,]+ [GT]B .* 1 GB is free"):
        check(**TOO_LARGE[flag])


def test_the_weights_are_counted_four_times(free):
    """Of one image, a batch is nothing beside them."""
    config = Config(hidden_dims=(8,))
    weights = 2 * 784 * 8 + 8 + 784 + (8 + 1) * 4 + (2 + 1) * 8
    with pytest.raises(TooLargeError, match=memory.format_bytes(16 * weights + 4 * (784 + 8))):
        free(16 * weights)
        check_memory(config, (1, 28, 28), num_classes=0, images=1, device=CPU)


def test_a_learner_leaves_torch_s_global_random_state_as_it_was(splits):
    before = torch.get_rng_state()
    learner = make(splits)
    learner.learn(lambda count: None)
    make(splits).restore(learner.state(), Path("x"))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_total_correlation_is_estimated_for_all_training_images(splits, monkeypatch):
    counts = []

    def counted(z, mu, logvar, *, num_images):
        counts.append(num_images)
        return torch.zeros(len(mu))

    monkeypatch.setattr("vae.model.objective.total_correlation", counted)
    make(splits, tc_weight=6.0).learn(lambda count: None)
    assert counts == [len(splits.train)] * 3  # batches


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_a_step_is_compiled_again_when_another_bound_takes_over(splits):
    knobs = {"objective": "dreg", "num_samples_train": 2, "elbo_until": 0.5, "num_epochs": 4, "batch_size": 1000}
    losses = {}
    for choice in ("on", "off"):
        learner, compilations = make(splits, compile=choice, **knobs), []
        for epoch in range(1, 5):
            if epoch > 1 and learner.to_compile:
                compilations.append(epoch)
                learner.compile()
            losses[choice, epoch] = learner.learn(lambda count: None)["train/loss"]
        assert compilations == ([2, 3] if choice == "on" else [])
    for epoch in range(1, 5):
        assert losses["on", epoch] == pytest.approx(losses["off", epoch], rel=1e-4)


def test_the_seed_alone_sets_the_initial_weights(splits):
    first = make(splits, seed=3).model.state_dict()
    torch.manual_seed(99)
    torch.testing.assert_close(make(splits, seed=3).model.state_dict(), first, rtol=0, atol=0)
    torch.manual_seed(3)
    fresh = torch.nn.Linear(28 * 28, 8)  # the encoder's first layer is the first to draw
    torch.testing.assert_close(first["encoder.body.0.weight"], fresh.weight.detach(), rtol=0, atol=0)


def draw_as_dropout_does(learner):
    """Add noise from torch's global generator to the decoder's output."""
    learner.model.decoder.register_forward_hook(lambda module, inputs, output: output + torch.randn_like(output))
    return learner


@pytest.mark.parametrize("knobs", [{}, {"ema": 0.9, "precision": "fp16", "binarize": "dynamic"}])
def test_a_learner_continues_to_the_bit_with_layers_that_draw_by_themselves(splits, knobs):
    whole = draw_as_dropout_does(make(splits, **knobs))
    whole.learn(lambda count: None)
    stream = io.BytesIO()
    torch.save(whole.state(), stream)
    stream.seek(0)
    torch.rand(7)
    part = draw_as_dropout_does(make(splits, **knobs))
    part.restore(torch.load(stream, weights_only=True), Path("x"))
    for learner in (whole, part):
        learner.learn(lambda count: None)
    (end, random), (expected, expected_random) = ((s, s.pop("random_state")) for s in (part.state(), whole.state()))
    torch.testing.assert_close(end, expected, rtol=0, atol=0)
    assert all(torch.equal(random[name], expected_random[name]) for name in ("torch", "generator"))


def test_the_configuration_s_rates_win_over_the_file_s(splits):
    learner, state = make(splits, lr=0.5), make(splits).state()
    state["optimizer_state"]["param_groups"][0] |= {"lr": 7.0, "betas": (0.0, 0.0), "fused": False}
    learner.restore(state, Path("x"))
    (group,) = learner.state()["optimizer_state"]["param_groups"]
    assert (group["lr"], group["betas"], group["fused"]) == (0.5, (0.9, 0.999), True)


def test_another_model_s_optimizer_and_a_damaged_one_are_refused_in_one_line(splits):
    learner = make(splits)
    learner.learn(lambda count: None)
    state = learner.state()
    means = state["optimizer_state"]["state"]
    wrong = torch.zeros(3)
    for damaged in (
        {**means, 0: {**means[0], "exp_avg": wrong}},
        {**means, 0: {**means[0], "exp_avg_sq": "none"}},
        {**means, 0: {"step": means[0]["step"]}},
        {0: means[0]},
        {**means, 99: means[0]},
        [1, 2],
    ):
        optimizer = {**state["optimizer_state"], "state": damaged}
        with pytest.raises(CheckpointError, match=r"^x doesn't fit: "):
            make(splits).restore({**state, "optimizer_state": optimizer}, Path("x"))
