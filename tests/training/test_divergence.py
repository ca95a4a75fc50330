"""What leaves the numbers first is named with its step; nothing that is no fault stops a run."""

import math

import pytest
import torch
from small_runs import load_state, run_main

from vae.config import Config
from vae.data.datasets import Split
from vae.model.vae import VAE
from vae.training.divergence import DivergedError
from vae.training.epoch import train_epoch
from vae.training.optimizer import build_optimizer

STEPS = 12


def images(steps=STEPS):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (10 * steps, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.zeros(len(pixels), dtype=torch.int64))


def spoil(weights, value, step):
    """Put one bad value into a weight's gradient, at one step."""
    seen = []

    def hook(gradient):
        seen.append(1)
        gradient = gradient.clone()
        if len(seen) == step:
            gradient.view(-1)[0] = value
        return gradient

    weights.register_hook(hook)


def train(model, *, number=1, steps=STEPS, on_batch=lambda count: None, scaler=None, **knobs):
    config = Config(batch_size=10, **{"precision": "fp32", **knobs})
    optimizer, generator = build_optimizer(config, model), torch.Generator().manual_seed(0)
    return train_epoch(
        model, images(steps), optimizer, config, epoch=number, generator=generator, scaler=scaler, on_batch=on_batch
    )


def small(**options):
    torch.manual_seed(0)
    return VAE(2, hidden_dims=(8,), image_shape=(1, 4, 4), **options)


@pytest.mark.parametrize("every", [100, 4, 1])
@pytest.mark.parametrize("step", [1, 5, STEPS])
@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("name", ["encoder.head.weight", "encoder.body.0.bias", "decoder.head.weight", "prior"])
def test_a_gradient_that_is_no_number_is_named_with_its_step(name, value, step, every, monkeypatch):
    monkeypatch.setattr("vae.training.divergence.CHECK_EVERY", every)
    model, counts = small(prior="flow" if name == "prior" else "standard"), []
    weights = next(model.prior.parameters()) if name == "prior" else model.get_parameter(name)
    spoil(weights, value, step)
    part = name.partition(".")[0]
    with pytest.raises(
        DivergedError, match=f"^the gradient of the {part} was no longer finite in epoch 3, step {step}:"
    ):
        train(model, number=3, on_batch=counts.append)
    assert len(counts) <= step + every


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_clipping_spreads_a_bad_gradient_and_hides_nothing(value):
    model = small()
    spoil(model.decoder.head.bias, value, 5)
    with pytest.raises(
        DivergedError, match=r"^the gradient of the .*decoder.* was no longer finite in epoch 1, step 5:"
    ):
        train(model, grad_clip=1.0)


def test_a_scaler_skips_float16_gradients_that_overflow_and_that_is_no_fault():
    model, scaler = small(), torch.amp.GradScaler("cpu")
    spoil(model.encoder.head.weight, math.inf, 5)
    train(model, scaler=scaler, precision="fp16")
    assert scaler.get_scale() < 65536 and all(weights.isfinite().all() for weights in model.parameters())


def test_float16_gradients_that_always_overflow_are_a_fault():
    model, scaler = small(), torch.amp.GradScaler("cpu")
    model.encoder.head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(DivergedError, match="float16 gradients were no longer finite"):
        train(model, scaler=scaler, precision="fp16", steps=40)


def test_too_long_a_step_is_told_from_a_bad_gradient():
    with pytest.raises(
        DivergedError, match=r"^the encoder and decoder's weights were no longer finite in epoch 1, step 1:"
    ):
        train(small(), lr=1e39)


def test_the_forward_pass_is_blamed_where_the_weights_are_sound():
    """At a huge learning rate: weights of 1e30 are numbers, what they make of an image isn't."""
    model = small()
    with pytest.raises(DivergedError, match=r"^the reconstruction term was .* epoch 1, step 2:"):
        train(model, lr=1e30)
    assert all(weights.isfinite().all() for weights in model.parameters())


@pytest.mark.parametrize("clip", [[], ["--grad_clip", "1"]])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_with_a_huge_lr_stops_in_one_line_and_keeps_its_last_good_checkpoint(tmp_path, capsys, clip, precision):
    flags = ["--run_name", "wild", "--lr", "1e12", "--batch_size", "64", "--num_epochs", "2", "--precision", precision]
    assert run_main(tmp_path, *flags, *clip) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the ") and "in epoch 1, step" in err and "--lr" in err and err.count("\n") == 1
    state = load_state(tmp_path / "outputs/wild")
    assert state["epoch"] == 0 and all(value.isfinite().all() for value in state["model_state"].values())


def test_watching_costs_no_bit_of_the_weights():
    """The same training without the watch's switch in the optimizer."""
    watched, plain = small(), small()
    train(watched)
    config = Config(batch_size=10, precision="fp32")
    optimizer = torch.optim.AdamW(plain.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    optimizer.defaults["fused"] = False  # what the watch asks; the optimizer's groups have their own
    train_epoch(plain, images(), optimizer, config, epoch=1, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))
