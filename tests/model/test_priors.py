"""Priors integrate to one, invert, and their determinants are autograd's."""

import copy

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vae.model.priors import RealNVP, StandardNormal, VampPrior
from vae.model.vae import VAE


def shaken(prior, seed=0):
    """The same prior with every weight moved off its start, where a flow is the identity."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return prior.double()


def vamp():
    torch.manual_seed(0)
    return VAE(2, hidden_dims=(8,), image_shape=(1, 4, 4), prior="vamp", num_pseudo_inputs=5).prior


PRIORS = {
    "standard": lambda: StandardNormal(2),
    "vamp": lambda: vamp().double(),
    "flow": lambda: shaken(RealNVP(2, 4, 8)),
}


def on_a_grid(prior, *amounts):
    """log p(z) on a square that holds all but a millionth of the mass, and the area of a cell, for Riemann sums."""
    side = torch.linspace(-30, 30, 601, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1)
    with torch.no_grad():
        return prior.log_prob(plane, *amounts), (side[1] - side[0]) ** 2


@pytest.mark.parametrize("kind", PRIORS)
def test_a_prior_integrates_to_one(kind):
    prior = PRIORS[kind]()
    if kind == "vamp":
        prior._encode.__self__.double()
    log_density, area = on_a_grid(prior)
    assert (log_density.exp().sum() * area).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("latent_dim", [2, 5, 8])
def test_a_flow_inverts(latent_dim):
    flow = shaken(RealNVP(latent_dim, 5, 16))
    eps = torch.randn(50, latent_dim, dtype=torch.float64)
    torch.testing.assert_close(flow.to_noise(flow.from_noise(eps))[0], eps)


@pytest.mark.parametrize("latent_dim", [2, 5])
def test_a_flow_s_log_determinant_is_autograd_s(latent_dim):
    flow = shaken(RealNVP(latent_dim, 5, 16))
    z = torch.randn(latent_dim, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow.to_noise(z)[0], z)
    torch.testing.assert_close(flow.to_noise(z)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_a_flow_that_is_told_of_distortions_is_a_density_for_each_and_one_of_its_own_for_none():
    flow = shaken(RealNVP(2, 4, 8, num_amounts=6))
    none, some = torch.zeros(6, dtype=torch.float64), torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, -0.5]).double()
    (density, cell), (distorted, _), (still, _) = on_a_grid(flow), on_a_grid(flow, some), on_a_grid(flow, none)
    assert (distorted.exp().sum() * cell).item() == pytest.approx(1, abs=1e-3)
    assert not torch.allclose(distorted, density, atol=0.1)
    assert torch.equal(still, density)


def test_a_new_flow_is_the_standard_normal():
    z = torch.randn(3, 7, 6)
    torch.testing.assert_close(RealNVP(6, 4, 8).log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_the_vamp_prior_is_the_mixture_of_its_pseudo_inputs_posteriors():
    torch.manual_seed(0)
    model = VAE(3, hidden_dims=(8,), image_shape=(1, 4, 4), prior="vamp", num_pseudo_inputs=6).double()
    mu, logvar = model.encode(torch.sigmoid(model.prior.pseudo_logits))
    components = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(6, dtype=torch.float64)), components)
    z = torch.randn(4, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(model.prior.log_prob(z), mixture.log_prob(z))


@pytest.mark.parametrize("kind", ["standard", "flow"])
def test_draws_follow_the_density(kind):
    """The mean of log p over draws is minus the entropy, which a Riemann sum gives too.

    20,000 draws, a standard deviation of log p near 1: six standard errors are 0.05, exceeded once in 5e8 runs.
    """
    prior = PRIORS[kind]()
    log_density, area = on_a_grid(prior)
    entropy = -(log_density.exp() * log_density).sum() * area
    draws = prior.from_noise(torch.randn(20_000, 2, dtype=torch.float64))
    with torch.no_grad():
        log_prob = prior.log_prob(draws)
    assert -log_prob.mean().item() == pytest.approx(entropy.item(), abs=6 * log_prob.std().item() / 20_000**0.5)


def test_narrow_components_of_a_vamp_prior_keep_float32_exact():
    torch.manual_seed(0)
    mu, logvar = 3 * torch.randn(50, 8), torch.full((50, 8), -11.0)  # sigma 0.004
    prior = VampPrior(lambda x: (mu, logvar), 50, (1, 4, 4))
    z = mu + torch.exp(0.5 * logvar) * torch.randn(50, 8)
    components = Independent(Normal(mu.double(), (0.5 * logvar.double()).exp()), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(50, dtype=torch.float64)), components)
    torch.testing.assert_close(prior.log_prob(z).double(), mixture.log_prob(z.double()), rtol=0, atol=2e-5)


def test_vamp_draws_come_from_its_components():
    """Each draw at temperature 0 is one of the components' means, and every component has its turn."""
    prior = vamp()
    draws = prior.sample(200, generator=torch.Generator().manual_seed(0), temperature=0)
    mu, _ = prior.components()
    distances = (draws.unsqueeze(1) - mu).norm(dim=2)
    assert distances.min(1).values.max() < 1e-6
    assert set(distances.argmin(1).tolist()) == set(range(5))


@pytest.mark.parametrize("kind", ["standard", "flow"])
def test_quantiles_are_those_of_draws(kind):
    prior = PRIORS[kind]().float()
    levels = torch.tensor([0.1, 0.5, 0.9])
    draws = prior.sample(50_000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(prior.quantiles(levels), torch.quantile(draws, levels, dim=0), atol=0.15, rtol=0.05)


def test_a_copied_model_has_a_vamp_prior_of_its_own():
    model = VAE(2, hidden_dims=(8,), prior="vamp", num_pseudo_inputs=3)
    twin = copy.deepcopy(model)
    z = torch.zeros(1, 2)
    before = model.prior.log_prob(z)
    with torch.no_grad():
        twin.encoder.head.bias.add_(1)
    assert torch.equal(model.prior.log_prob(z), before) and not torch.equal(twin.prior.log_prob(z), before)


def test_learned_priors_are_learned_with_the_nets():
    for kind in ("vamp", "flow"):
        model = VAE(4, hidden_dims=(8,), prior=kind, num_pseudo_inputs=3)
        model.kl(model(torch.rand(5, 1, 28, 28))).sum().backward()
        assert all(parameter.grad is not None for parameter in model.prior.parameters())


def test_a_vamp_prior_is_registered_once():
    names = [name for name, _ in VAE(2, prior="vamp").named_parameters() if name.startswith("prior")]
    assert names == ["prior.pseudo_logits"]
    assert isinstance(VAE(2, prior="vamp").prior, VampPrior)
