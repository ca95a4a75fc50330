import copy

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

from vae.data.datasets import load_splits
from vae.data.pixels import threshold
from vae.data.splits import Split
from vae.evaluation.elbo import evaluate, least_recon, posterior
from vae.model.vae import VAE


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data")).train


def test_evaluate_is_the_one_sample_elbo_of_torch_distributions(digits):
    torch.manual_seed(0)
    model = VAE(2, hidden_dims=(16,))
    scores = evaluate(model, digits, seed=5)
    eps = torch.randn(1437, 2, generator=torch.Generator().manual_seed(5))
    x = digits.images / 255
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    recon = F.binary_cross_entropy(model.decode(q.loc + q.scale * eps), x, reduction="sum") / 1437
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum() / 1437
    assert scores.recon == pytest.approx(recon.item(), rel=1e-5)
    assert scores.kl == pytest.approx(kl.item(), rel=1e-5) == sum(scores.kl_per_dim)
    assert scores.elbo == pytest.approx(-scores.recon - scores.kl)
    row = scores.as_dict()
    assert list(row) == ["loss", "recon", "kl", "elbo", "active_units", "kl_per_dim"] and row["loss"] == -row["elbo"]


def test_active_units_are_those_whose_mean_moves(digits):
    model = VAE(3, hidden_dims=(16,))
    with torch.no_grad():
        model.encoder.head.weight[:2] = 0  # the first two of mu's three rows
        model.encoder.head.weight[2] *= 100
    assert evaluate(model, digits).active_units == 1


def test_evaluation_doesn_t_depend_on_chunks_and_changes_nothing(digits, monkeypatch):
    model = VAE(2, hidden_dims=(16,))
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    scores = evaluate(model, digits)
    monkeypatch.setattr("vae.evaluation.elbo.CHUNK", 77)
    again = evaluate(model, digits)
    assert again[:3] == pytest.approx(scores[:3], rel=1e-6)
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_posterior_is_the_encoder_s_output(digits):
    model = VAE(2, hidden_dims=(16,))
    mu, logvar = posterior(model, digits)
    expected = model.encode(digits.images / 255)
    torch.testing.assert_close((mu, logvar), expected)


def test_no_decoder_reconstructs_grey_pixels_below_their_entropy(digits):
    x = digits.images.double() / 255
    entropy = Bernoulli(probs=x).entropy().sum().item() / len(x)
    bernoulli = VAE(2, hidden_dims=(4,))
    assert least_recon(bernoulli, digits) == pytest.approx(entropy, rel=1e-5) and entropy > 10
    assert least_recon(bernoulli, Split(threshold(digits.images), digits.labels)) == 0
    for density in ("continuous_bernoulli", "mse"):
        assert least_recon(VAE(2, hidden_dims=(4,), recon_loss=density), digits) is None
