"""The loss of each bound and prior, and its gradient: against torch.distributions and autograd."""

import pytest
import torch
from torch.distributions import Normal

from vae.config import Config
from vae.model.losses import bernoulli_recon, total_correlation
from vae.model.objective import Batch, Objective
from vae.model.vae import VAE, reparameterize

SHAPE = (1, 4, 4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAE(3, hidden_dims=(16,), image_shape=SHAPE).double()


@pytest.fixture
def x():
    return torch.rand(10, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def noise(*samples):
    return torch.randn(*samples, 10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def terms_of(model, x, eps, *, beta=1.0, num_images=0, amounts=None, **knobs):
    """Loss, recon and KL of every image."""
    objective = Objective(model, Config(precision="fp32", **knobs), num_images=num_images)
    return objective(Batch(x, torch.zeros(len(x), dtype=torch.int64), eps, amounts), beta)


def log_weights(model, x, z, q):
    recon = torch.stack([bernoulli_recon(model.logits(sample), x) for sample in z])
    return Normal(0.0, 1.0).log_prob(z).sum(-1) - recon - q.log_prob(z).sum(-1)


def test_the_elbo_s_loss_is_recon_plus_beta_kl(model, x):
    output = model(x, eps=noise())
    loss, recon, kl = terms_of(model, x, noise(), beta=0.3)
    torch.testing.assert_close(recon, bernoulli_recon(output.logits, x))
    torch.testing.assert_close(kl, model.kl(output))
    torch.testing.assert_close(loss, recon + 0.3 * kl)


def test_the_elbo_of_several_samples_is_their_mean(model, x):
    eps = noise(4)
    _, recon, kl = terms_of(model, x, eps, num_samples_train=4)
    singles = torch.stack([bernoulli_recon(model(x, eps=sample).logits, x) for sample in eps])
    torch.testing.assert_close(recon, singles.mean(0))
    torch.testing.assert_close(kl, model.kl(model(x)))


@pytest.mark.parametrize("objective", ["elbo", "dreg"])
def test_with_labels_the_prior_is_that_of_images_so_distorted(x, objective):
    flow: dict = {"prior": "flow", "augment": 0.5, "augment_labels": True}
    model = VAE(3, hidden_dims=(16,), image_shape=SHAPE, prior="flow", augment_labels=True).double()
    for coupling in model.prior.couplings:
        torch.nn.init.normal_(coupling.head.weight)
    amounts, eps = torch.randn(10, 6, dtype=torch.float64), noise(2)
    _, _, kl = terms_of(model, x, eps, amounts=amounts, objective=objective, num_samples_train=2, **flow)
    mu, logvar = model.encode(x)
    z = mu + (0.5 * logvar).exp() * eps
    posterior = Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    prior = torch.stack([model.prior.log_prob(sample, amounts) for sample in z])
    torch.testing.assert_close(kl, (posterior - prior).mean(0))
    untold = torch.stack([model.prior.log_prob(sample) for sample in z])
    assert not torch.allclose(kl, (posterior - untold).mean(0), atol=0.1)


def test_the_likelihood_is_the_model_s(x):
    model = VAE(3, hidden_dims=(16,), image_shape=SHAPE, recon_loss="mse").double()
    _, recon, _ = terms_of(model, x, noise())
    torch.testing.assert_close(recon, (model.decode(model(x, eps=noise()).z) - x).square().sum((1, 2, 3)))


def test_free_bits_are_charged_in_the_loss_and_not_in_the_kl(model, x):
    loss, recon, kl = terms_of(model, x, noise(), free_bits=5.0)
    torch.testing.assert_close(loss, recon + 15.0)  # three latents, each far below five nats
    torch.testing.assert_close(kl, model.kl(model(x)))


@pytest.mark.parametrize("samples", [(), (4,)])
def test_the_total_correlation_is_weighed_in_the_loss_alone(model, x, samples):
    eps, knobs = noise(*samples), {"num_samples_train": 4 if samples else 1, "beta": 0.3}
    usual = terms_of(model, x, eps, **knobs)
    loss, *terms = terms_of(model, x, eps, tc_weight=6.0, num_images=500, **knobs)
    output = model(x, eps=eps)
    shared = total_correlation(output.z, output.mu, output.logvar, num_images=500)
    torch.testing.assert_close(loss, usual[0] + 0.3 * 5 * (shared.mean(0) if samples else shared))
    torch.testing.assert_close(terms, list(usual[1:]), rtol=0, atol=0)


def test_the_iwae_s_loss_is_minus_the_importance_weighted_bound(model, x):
    eps = noise(6)
    loss, recon, kl = terms_of(model, x, eps, objective="iwae", num_samples_train=6)
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    weights = log_weights(model, x, q.loc + q.scale * eps, q)
    expected = -weights.exp().mean(0).log()  # as the formula is written
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(-(recon + kl), weights.mean(0))
    assert (recon + kl > loss).all()
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    gradients = (torch.autograd.grad(each.sum(), parameters) for each in (loss, expected))
    torch.testing.assert_close(*gradients)


def test_dreg_weighs_the_encoder_s_gradient_by_squared_weights(model, x):
    """Tucker et al. 2019, eq. 8, sample by sample with autograd; the decoder's gradient is the IWAE's."""
    eps = noise(6)
    loss, _, _ = terms_of(model, x, eps, objective="dreg", num_samples_train=6)
    mu, logvar = model.encode(x)
    z = reparameterize(mu, logvar, eps)
    weights = log_weights(model, x, z, Normal(mu.detach(), (0.5 * logvar.detach()).exp()))
    normalised = torch.softmax(weights.detach(), dim=0)
    (by_z,) = torch.autograd.grad(weights.sum(), z, retain_graph=True)
    surrogate = -(normalised.square().unsqueeze(-1) * by_z * z).sum()
    bound = -weights.exp().mean(0).log()
    torch.testing.assert_close(loss, bound)
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    expected = torch.autograd.grad(surrogate, encoder, retain_graph=True) + torch.autograd.grad(bound.sum(), decoder)
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), [*encoder, *decoder]), expected)


@pytest.mark.parametrize(
    ("prior", "beta"), [("standard", 0.0), ("standard", 0.5), ("standard", 2.0), ("flow", 0.5), ("vamp", 1.0)]
)
def test_dreg_s_gradient_is_the_iwae_s_on_average_whatever_beta_is(beta, prior):
    """40 means over 5,000 images each; the differences' t value, 39 degrees of freedom, exceeds 5 in 1 of 80,000."""
    knobs = {"image_shape": (1, 2, 2), "hidden_dims": (4,), "prior": prior, "num_pseudo_inputs": 3, "prior_width": 4}
    model = VAE(2, **knobs).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    x = (torch.rand(1, 1, 2, 2) > 0.5).double().expand(5000, 1, 2, 2)
    encoder = list(model.encoder.parameters())
    means = {}
    for bound in ("iwae", "dreg"):
        generator, gradients = torch.Generator().manual_seed(1), []
        for _ in range(40):
            eps = torch.randn(3, 5000, 2, dtype=torch.float64, generator=generator)
            loss = terms_of(model, x, eps, beta=beta, objective=bound, num_samples_train=3)[0].mean()
            gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, encoder)]))
        means[bound] = torch.stack(gradients)
    direction = means["iwae"].mean(0)
    apart = (means["dreg"] - means["iwae"]) @ direction / direction.square().sum()  # as shares of its length
    error = apart.std() / 40**0.5
    assert error < 0.05
    assert apart.mean().abs() < 5 * error + 1e-9  # with beta = 0 they are the same
