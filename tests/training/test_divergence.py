"""The first term, gradient or weight that is not finite is named with its step; a harmless overflow stops nothing."""

import math

import pytest
import torch
from small_runs import run_main

from vae import open_run
from vae.config import Config
from vae.data.splits import Split
from vae.model.vae import VAE
from vae.training.divergence import DivergedError
from vae.training.epoch import train_epoch
from vae.training.optimizer import build_optimizer
from vae.training.step import TrainingStep

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


def train(model, *, number=1, steps=STEPS, on_batch=lambda count: None, **knobs):
    """An epoch on `steps` batches; returns the step that took them."""
    config = Config(batch_size=10, **{"precision": "fp32", **knobs})
    step = TrainingStep(model, build_optimizer(config, model), config)
    train_epoch(step, images(steps), epoch=number, generator=torch.Generator().manual_seed(0), on_batch=on_batch)
    return step


def small(**options):
    torch.manual_seed(0)
    return VAE(2, hidden_dims=(8,), image_shape=(1, 4, 4), **options)


@pytest.mark.parametrize(
    ("name", "value", "step", "every"),
    [
        ("encoder.head.weight", math.inf, 5, 100),
        ("encoder.body.0.bias", math.nan, 5, 4),
        ("decoder.head.weight", math.nan, 1, 1),
        ("decoder.head.weight", math.inf, 4, 4),
        ("prior", math.nan, STEPS, 100),
        ("prior", math.inf, 1, 4),
    ],
)
def test_a_gradient_that_is_not_finite_is_named_with_its_step(name, value, step, every, monkeypatch):
    monkeypatch.setattr("vae.training.divergence.CHECK_EVERY", every)
    model, counts = small(prior="flow" if name == "prior" else "standard"), []
    weights = next(model.prior.parameters()) if name == "prior" else model.get_parameter(name)
    spoil(weights, value, step)
    part = name.partition(".")[0]
    message = f"^the gradient of the {part} was no longer finite in epoch 3, step {step}:"
    with pytest.raises(DivergedError, match=message):
        train(model, number=3, on_batch=counts.append)
    assert len(counts) <= step + every


def test_clipping_spreads_a_bad_gradient_and_hides_nothing():
    model = small()
    spoil(model.decoder.head.bias, math.inf, 5)
    message = r"^the gradient of the .*decoder.* was no longer finite in epoch 1, step 5:"
    with pytest.raises(DivergedError, match=message):
        train(model, grad_clip=1.0)


def test_the_scaler_skips_float16_gradients_that_overflow_and_training_goes_on():
    model = small()
    spoil(model.encoder.head.weight, math.inf, 5)
    step = train(model, precision="fp16")
    assert step.scaler.get_scale() < 65536 and all(weights.isfinite().all() for weights in model.parameters())


def test_float16_gradients_that_always_overflow_stop_the_training():
    model = small()
    model.encoder.head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(DivergedError, match="float16 gradients were no longer finite"):
        train(model, precision="fp16", steps=40)


def test_weights_that_overflow_after_a_finite_gradient_are_named_themselves():
    message = r"^the encoder and decoder's weights were no longer finite in epoch 1, step 1:"
    with pytest.raises(DivergedError, match=message):
        train(small(), lr=1e39)


def test_the_forward_pass_is_blamed_where_the_weights_are_finite():
    """At a huge learning rate: weights of 1e30 are finite, what they make of an image isn't."""
    model = small()
    with pytest.raises(DivergedError, match=r"^the reconstruction term was .* epoch 1, step 2:"):
        train(model, lr=1e30)
    assert all(weights.isfinite().all() for weights in model.parameters())


def test_an_optimizer_that_can_t_be_halted_has_the_first_bad_term_named():
    """As on Apple's GPUs: the weights moved after the bad step, and tell nothing of what came first."""
    config = Config(batch_size=10, precision="fp32", lr=1e30)
    model = small()
    step = TrainingStep(model, torch.optim.SGD(model.parameters()), config)
    with pytest.raises(DivergedError, match=r"^the .* term was no longer finite in epoch 1, step 2:"):
        train_epoch(step, images(), epoch=1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("precision", "clip"), [("fp32", "0"), ("fp16", "1")])
def test_a_run_with_a_huge_lr_stops_in_one_line_and_keeps_its_last_good_checkpoint(tmp_path, capsys, clip, precision):
    flags = ["--run_name", "wild", "--lr", "1e12", "--batch_size", "64", "--num_epochs", "2", "--precision", precision]
    assert run_main(tmp_path, *flags, "--grad_clip", clip) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the ") and "in epoch 1, step" in err and "--lr" in err and err.count("\n") == 1
    trained = open_run(tmp_path / "outputs/wild")
    assert trained.epoch == 0 and all(weights.isfinite().all() for weights in trained.model.parameters())


def test_the_watch_doesn_t_change_a_bit_of_the_weights():
    """The same training without the watch's switch in the optimizer."""
    watched, plain = small(), small()
    train(watched)
    config = Config(batch_size=10, precision="fp32")
    step = TrainingStep(plain, build_optimizer(config, plain), config)
    step.optimizer.defaults["fused"] = False  # what the watch asks; the optimizer's groups have their own
    train_epoch(step, images(), epoch=1, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))
