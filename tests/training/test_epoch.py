import copy

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from vae.config import Config
from vae.data.datasets import load_splits
from vae.data.splits import Split
from vae.evaluation.elbo import evaluate
from vae.model.vae import VAE
from vae.training.divergence import DivergedError
from vae.training.epoch import train_epoch
from vae.training.step import TrainingStep


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data")).train


def head(split, count):
    return split.take(torch.arange(count))


def epoch(model, split, *, number=1, seed=0, on_batch=lambda count: None, **knobs):
    config = Config(**{"batch_size": 100, "precision": "fp32", "num_epochs": 10, **knobs})
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=1e-2)
    step, generator = TrainingStep(model, optimizer, config), torch.Generator().manual_seed(seed)
    return train_epoch(step, split, epoch=number, generator=generator, on_batch=on_batch)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_a_step_follows_the_gradient_of_the_objective(digits, beta):
    """One SGD step on one batch against the objective written with torch.distributions."""
    torch.manual_seed(0)
    model = VAE(3, hidden_dims=(16,))
    reference = copy.deepcopy(model)
    batch = head(digits, 50)
    config = Config(batch_size=50, lr=0.01, beta=beta, precision="fp32")
    optimizer = torch.optim.SGD(model.parameters(), lr=99)  # the config's rate is set before the step
    step = TrainingStep(model, optimizer, config)
    metrics = train_epoch(step, batch, epoch=1, generator=torch.Generator().manual_seed(1))

    generator = torch.Generator().manual_seed(1)
    x = batch.images[torch.randperm(50, generator=generator)] / 255
    mu, logvar = reference.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.loc + q.scale * torch.randn(50, 3, generator=generator)
    recon = F.binary_cross_entropy(reference.decode(z), x, reduction="sum") / 50
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum() / 50
    loss = recon + beta * kl
    loss.backward()
    expected = {"loss": loss.item(), "recon": recon.item(), "kl": kl.item(), "elbo": -(recon + kl).item()}
    assert metrics == pytest.approx({**expected, "lr": 0.01, "beta": beta}, rel=1e-5)
    for trained, before in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, before - 0.01 * before.grad, rtol=1e-4, atol=1e-6)


def test_metrics_weigh_every_image_alike(digits):
    """With a learning rate of (nearly) nothing, uneven batches give the mean over all images."""
    model = VAE(2, hidden_dims=(8,))
    uneven = epoch(model, head(digits, 250), lr=1e-12, batch_size=249)
    whole = epoch(model, head(digits, 250), lr=1e-12, batch_size=250)
    assert uneven["kl"] == pytest.approx(whole["kl"], rel=1e-5)  # recon has other noise


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_lowers_the_test_loss(digits, precision):
    torch.manual_seed(0)
    model = VAE(2, hidden_dims=(64,))
    before = evaluate(model, digits).elbo
    for seed in range(3):
        epoch(model, digits, seed=seed, precision=precision)
    assert evaluate(model, digits).elbo > before + 100
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_precision_is_that_of_the_products_and_nothing_else(digits):
    losses = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        losses[precision] = epoch(VAE(2, hidden_dims=(64,)), digits, precision=precision)["loss"]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=1e-2)


def test_every_image_is_reported_to_on_batch(digits):
    counts = []
    epoch(VAE(2, hidden_dims=(8,)), head(digits, 250), on_batch=counts.append)
    assert counts == [100, 100, 50]


def test_dynamic_pixels_are_redrawn_in_every_epoch_with_the_grey_value_as_mean(digits):
    seen = []

    class Spy(VAE):
        def encode(self, x, y=None):
            seen.append(x)
            return super().encode(x, y)

    grey = Split(torch.full((500, 1, 4, 4), 51, dtype=torch.uint8), torch.zeros(500, dtype=torch.int64))
    model = Spy(2, hidden_dims=(4,), image_shape=(1, 4, 4))
    for seed in (1, 2):
        epoch(model, grey, batch_size=500, binarize="dynamic", seed=seed)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0} and not torch.equal(seen[0], seen[1])
    # 8000 draws with p = 0.2: a standard deviation of 0.0045; six of them are exceeded once in 5e8 runs
    assert seen[0].mean().item() == pytest.approx(0.2, abs=6 * 0.0045)


def test_the_kl_s_weight_warms_up_and_the_reported_elbo_never_carries_it(digits):
    model = VAE(2, hidden_dims=(8,))
    half = epoch(model, digits, number=2, beta=4.0, kl_warmup_epochs=4, batch_size=1437)
    assert half["beta"] == pytest.approx(4.0 * 1.5 / 4)  # the middle of the second epoch's only step
    assert half["loss"] == pytest.approx(half["recon"] + half["beta"] * half["kl"], rel=1e-5)
    assert half["elbo"] == pytest.approx(-(half["recon"] + half["kl"]), rel=1e-5)


def test_free_bits_keep_the_gradient_off_a_latent_below_them(digits):
    torch.manual_seed(0)
    model = VAE(4, hidden_dims=(8,))
    metrics = epoch(model, digits, free_bits=100.0, batch_size=1437)
    assert metrics["loss"] == pytest.approx(metrics["recon"] + 400, rel=1e-5) and metrics["kl"] < 10


def test_gradient_clipping_bounds_the_step(digits):
    torch.manual_seed(0)
    model = VAE(2, hidden_dims=(8,))
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    config = Config(batch_size=1437, lr=1.0, grad_clip=0.25, precision="fp32")
    step = TrainingStep(model, torch.optim.SGD(model.parameters(), lr=1.0), config)
    train_epoch(step, digits, epoch=1, generator=torch.Generator().manual_seed(0))
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.25, rel=1e-3)


def test_a_conditional_model_learns_from_its_labels(digits):
    """With the class, one latent gives a better bound than without."""
    losses = []
    for classes in (0, 10):
        torch.manual_seed(0)
        model = VAE(1, hidden_dims=(64,), num_classes=classes)
        for number in range(1, 11):
            epoch(model, digits, number=number, seed=number)
        losses.append(-evaluate(model, digits).elbo)
    assert losses[1] < losses[0] - 5


@pytest.mark.parametrize(("part", "name"), [("decoder", "reconstruction term"), ("encoder", "KL term")])
def test_a_term_that_is_not_finite_is_named(digits, part, name):
    model = VAE(2, hidden_dims=(8,))
    with torch.no_grad():
        getattr(model, part).head.bias.fill_(float("nan"))
        if part == "encoder":  # keep the sample finite: mu is too large only for the KL's square
            model.decoder.body = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Hardtanh())
            model.encoder.head.bias.copy_(torch.tensor([1e30, 1e30, 0.0, 0.0]))
    with pytest.raises(DivergedError, match=f"the {name} was no longer finite in epoch 1, step 1:"):
        epoch(model, head(digits, 100))


def test_images_are_distorted_until_their_share_of_the_run_is_over(digits):
    model, few = VAE(3, hidden_dims=(8,)), head(digits, 40)
    losses = {}
    for number in (1, 2, 3):
        for augment in (0.0, 2.0):
            knobs = {"num_epochs": 3, "augment": augment, "augment_until": 0.67}
            losses[number, augment] = epoch(copy.deepcopy(model), few, number=number, **knobs)["loss"]
    assert losses[1, 0.0] != losses[1, 2.0] and losses[2, 0.0] != losses[2, 2.0]
    assert losses[3, 0.0] == losses[3, 2.0]


def test_the_elbo_begins_the_run_until_another_bound_takes_over(digits):
    model, few = VAE(3, hidden_dims=(8,)), head(digits, 40)
    bounds = {
        "elbo": {},
        "dreg": {"objective": "dreg", "num_samples_train": 3},
        "both": {"objective": "dreg", "num_samples_train": 3, "elbo_until": 0.67},
    }
    losses = {
        (name, number): epoch(copy.deepcopy(model), few, number=number, num_epochs=3, **knobs)["loss"]
        for name, knobs in bounds.items()
        for number in (2, 3)
    }
    assert losses["both", 2] == losses["elbo", 2] != losses["dreg", 2]
    assert losses["both", 3] == losses["dreg", 3] != losses["elbo", 3]
