import copy

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from vae.data import load_splits
from vae.evaluate import evaluate, posterior
from vae.model import VAE
from vae.train import DivergedError, train_epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data")).train.images


def epoch(model, images, *, lr=1e-3, batch_size=100, seed=0, **options):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed)
    return train_epoch(model, images, optimizer, batch_size=batch_size, generator=generator, **options)


def test_a_step_follows_the_gradient_of_the_mean_negative_elbo(images):
    """One SGD step on one batch against the objective written with torch.distributions."""
    torch.manual_seed(0)
    model = VAE(3, hidden_dims=(16,))
    reference = copy.deepcopy(model)
    batch = images[:50]
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    metrics = train_epoch(model, batch, optimizer, batch_size=50, generator=generator)

    generator = torch.Generator().manual_seed(1)
    x = batch[torch.randperm(50, generator=generator)] / 255
    mu, logvar = reference.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.loc + q.scale * torch.randn(50, 3, generator=generator)
    recon = F.binary_cross_entropy(reference.decode(z), x, reduction="sum") / 50
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum() / 50
    (recon + kl).backward()
    assert metrics == pytest.approx({"loss": (recon + kl).item(), "recon": recon.item(), "kl": kl.item()}, rel=1e-5)
    for trained, before in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, before - 0.01 * before.grad, rtol=1e-4, atol=1e-6)


def test_metrics_weigh_every_image_alike(images):
    """With a learning rate of (nearly) nothing, uneven batches give the mean over all images."""
    model = VAE(2, hidden_dims=(8,))
    uneven = epoch(model, images[:250], lr=1e-12, batch_size=249)
    whole = epoch(model, images[:250], lr=1e-12, batch_size=250)
    assert uneven["kl"] == pytest.approx(whole["kl"], rel=1e-5)  # recon has other noise


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_training_lowers_the_test_loss(images, dtype):
    torch.manual_seed(0)
    model = VAE(2, hidden_dims=(64,))
    before = evaluate(model, images)["loss"]
    for seed in range(3):
        epoch(model, images, seed=seed, autocast_dtype=dtype)
    assert evaluate(model, images)["loss"] < before - 100
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_every_image_is_reported_to_on_batch(images):
    counts = []
    epoch(VAE(2, hidden_dims=(8,)), images[:250], on_batch=counts.append)
    assert counts == [100, 100, 50]


@pytest.mark.parametrize(("part", "name"), [("decoder", "reconstruction term"), ("encoder", "KL term")])
def test_a_loss_that_is_no_number_names_its_term(images, part, name):
    model = VAE(2, hidden_dims=(8,))
    with torch.no_grad():
        getattr(model, part).head.bias.fill_(float("inf") if part == "encoder" else float("nan"))
    if part == "encoder":  # keep the sample finite: mu is infinite only in the KL
        model.decoder.body = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Hardtanh())
        model.encoder.head.bias.data[2:] = 0
        model.encoder.head.bias.data[:2] = 1e30
    with pytest.raises(DivergedError, match=f"the {name} became"):
        epoch(model, images[:100])


def test_evaluate_is_the_one_sample_elbo_of_torch_distributions(images):
    torch.manual_seed(0)
    model = VAE(2, hidden_dims=(16,))
    scores = evaluate(model, images[:1437], seed=5)
    eps = torch.randn(1437, 2, generator=torch.Generator().manual_seed(5))
    x = images / 255
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    recon = F.binary_cross_entropy(model.decode(q.loc + q.scale * eps), x, reduction="sum") / 1437
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum() / 1437
    assert scores["recon"] == pytest.approx(recon.item(), rel=1e-5)
    assert scores["kl"] == pytest.approx(kl.item(), rel=1e-5)
    assert scores["loss"] == -scores["elbo"] == pytest.approx(scores["recon"] + scores["kl"])


def test_evaluation_doesn_t_depend_on_chunks_and_changes_nothing(images, monkeypatch):
    model = VAE(2, hidden_dims=(16,))
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    scores = evaluate(model, images)
    monkeypatch.setattr("vae.evaluate.CHUNK", 77)
    assert evaluate(model, images) == pytest.approx(scores, rel=1e-6)
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_posterior_is_the_encoder_s_output(images):
    model = VAE(2, hidden_dims=(16,))
    mu, logvar = posterior(model, images)
    expected = model.encode(images / 255)
    torch.testing.assert_close((mu, logvar), expected)
