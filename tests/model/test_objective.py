"""What a step follows with each bound, prior and average: against torch.distributions and autograd."""

import copy

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from vae.config import Config
from vae.data.augment import distort
from vae.data.datasets import load_splits
from vae.model.losses import RECON_LOSSES, gaussian_log_density, iwae_bound, standard_normal_log_density
from vae.model.objective import Objective
from vae.model.vae import VAE, reparameterize
from vae.training.epoch import train_epoch
from vae.training.step import TrainingStep


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    return load_splits("digits", tmp_path_factory.mktemp("data")).train.take(torch.arange(40))


def one_step(model, batch, *, epoch=1, **knobs):
    """Train on one batch by plain gradient descent; returns the metrics."""
    config = Config(batch_size=len(batch), lr=0.01, precision="fp32", **knobs)
    step = TrainingStep(model, torch.optim.SGD(model.parameters(), lr=1.0), config)
    return train_epoch(step, batch, epoch=epoch, generator=torch.Generator().manual_seed(1))


def drawn(batch, samples, latent_dim):
    """The pixels and the noise of that step."""
    generator = torch.Generator().manual_seed(1)
    x = batch.images[torch.randperm(len(batch), generator=generator)] / 255
    return x, torch.randn(samples, len(batch), latent_dim, generator=generator)


def log_weights(model, x, z, q):
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    recon = torch.stack([RECON_LOSSES["bce"](model.logits(sample), x) for sample in z])
    return log_prior - recon - q.log_prob(z).sum(-1)


def assert_moved(model, reference, gradients):
    for trained, before, gradient in zip(model.parameters(), reference.parameters(), gradients, strict=True):
        torch.testing.assert_close(trained, before - 0.01 * gradient, rtol=1e-4, atol=1e-6)


def test_densities_are_torch_s():
    z, mu, logvar = torch.randn(4, 5, 3), torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(
        gaussian_log_density(z, mu, logvar), Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    )
    torch.testing.assert_close(standard_normal_log_density(z), Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_the_bound_of_equal_weights_is_their_logarithm():
    torch.testing.assert_close(iwae_bound(torch.full((7, 3), -900.0)), torch.full((3,), -900.0))


@pytest.mark.parametrize("prior", ["standard", "flow", "vamp"])
def test_a_recon_of_several_samples_is_each_one_s(prior):
    model = VAE(3, hidden_dims=(8,), prior=prior, num_pseudo_inputs=4)
    x = torch.rand(5, 1, 28, 28)
    output = model(x, eps=torch.randn(2, 5, 3))
    assert output.logits.shape == (2, 5, 1, 28, 28)
    expected = -Bernoulli(logits=output.logits).log_prob((x > 0.5).float()).sum((2, 3, 4))
    torch.testing.assert_close(RECON_LOSSES["bce"](output.logits, (x > 0.5).float()), expected)
    single = torch.stack([model.logits(z) for z in output.z])
    torch.testing.assert_close(output.logits, single)
    assert model.sampled_kl(output).shape == (2, 5)


def test_several_samples_of_a_conditional_model_keep_their_labels():
    model = VAE(3, hidden_dims=(8,), num_classes=10)
    x, y, eps = torch.rand(5, 1, 28, 28), torch.arange(5), torch.randn(2, 5, 3)
    output = model(x, y, eps)
    for sample in range(2):
        torch.testing.assert_close(output.logits[sample], model(x, y, eps[sample]).logits)


def test_an_iwae_step_follows_the_importance_weighted_bound(batch):
    model = VAE(3, hidden_dims=(16,))
    reference = copy.deepcopy(model)
    metrics = one_step(model, batch, objective="iwae", num_samples_train=6)
    x, eps = drawn(batch, 6, 3)
    mu, logvar = reference.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    weights = log_weights(reference, x, q.loc + q.scale * eps, q)
    loss = -weights.double().exp().mean(0).log().mean()  # as it is written; the weights are near e^-540
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["elbo"] == pytest.approx(weights.mean().item(), rel=1e-5)
    assert metrics["elbo"] < -metrics["loss"]
    assert_moved(model, reference, torch.autograd.grad(loss, list(reference.parameters())))


def test_a_dreg_step_weighs_the_encoder_s_gradient_by_squared_weights(batch):
    """Tucker et al. 2019, eq. 8, sample by sample with autograd; the decoder's gradient is the IWAE's."""
    model = VAE(3, hidden_dims=(16,))
    reference = copy.deepcopy(model)
    metrics = one_step(model, batch, objective="dreg", num_samples_train=6)
    x, eps = drawn(batch, 6, 3)
    mu, logvar = reference.encode(x)
    z = reparameterize(mu, logvar, eps)
    held = Normal(mu.detach(), (0.5 * logvar.detach()).exp())
    weights = log_weights(reference, x, z, held)
    normalised = torch.softmax(weights.detach(), dim=0)
    (by_z,) = torch.autograd.grad(weights.sum(), z, retain_graph=True)
    encoder = list(reference.encoder.parameters())
    surrogate = -(normalised.square().unsqueeze(-1) * by_z * z).sum((0, 2)).mean()
    encoder_gradients = torch.autograd.grad(surrogate, encoder, retain_graph=True)
    bound = -torch.logsumexp(weights, 0).mean()
    decoder_gradients = torch.autograd.grad(bound, list(reference.decoder.parameters()))
    assert metrics["loss"] == pytest.approx((bound + torch.log(torch.tensor(6.0))).item(), rel=1e-5)
    assert_moved(model, reference, [*encoder_gradients, *decoder_gradients])


@pytest.mark.parametrize("prior", ["standard", "flow", "vamp"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
def test_dreg_s_gradient_is_the_iwae_s_on_average_whatever_beta_is(beta, prior):
    """40 means over 5,000 images each; the differences' t value, 39 degrees of freedom, exceeds 5 in 1 of 80,000."""
    torch.manual_seed(0)
    knobs = {"image_shape": (1, 2, 2), "hidden_dims": (4,), "prior": prior, "num_pseudo_inputs": 3, "prior_width": 4}
    model = VAE(2, **knobs).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    x, y = (torch.rand(1, 1, 2, 2) > 0.5).double().expand(5000, 1, 2, 2), torch.zeros(5000, dtype=torch.int64)
    encoder = list(model.encoder.parameters())
    gradients = {}
    for bound in ("iwae", "dreg"):
        objective = Objective(model, Config(objective=bound, num_samples_train=3, precision="fp32"))
        generator, found = torch.Generator().manual_seed(1), []
        for _ in range(40):
            eps = torch.randn(3, 5000, 2, dtype=torch.float64, generator=generator)
            loss = objective(x, y, eps, beta)[0].mean()
            found.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, encoder)]))
        gradients[bound] = torch.stack(found)
    direction = gradients["iwae"].mean(0)
    apart = (gradients["dreg"] - gradients["iwae"]) @ direction / direction.square().sum()  # as shares of its length
    error = apart.std() / 40**0.5
    assert error < 0.05
    assert apart.mean().abs() < 5 * error + 1e-9  # with beta = 0 they are one


def test_the_elbo_of_several_samples_is_their_mean(batch):
    model = VAE(3, hidden_dims=(16,))
    reference = copy.deepcopy(model)
    metrics = one_step(model, batch, num_samples_train=4)
    x, eps = drawn(batch, 4, 3)
    singles = torch.stack([RECON_LOSSES["bce"](reference(x, eps=noise).logits, x).mean() for noise in eps])
    assert metrics["recon"] == pytest.approx(singles.mean().item(), rel=1e-5)


def test_a_learned_prior_s_kl_is_estimated_without_bias():
    """Against the closed form: a new flow is N(0, I). 20,000 samples, six standard errors."""
    model = VAE(3, hidden_dims=(8,), prior="flow")
    standard = VAE(3, hidden_dims=(8,))
    standard.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("prior")})
    x = torch.rand(1, 1, 28, 28)
    output = model(x.expand(20_000, -1, -1, -1))
    estimate = model.kl(output)
    exact = standard.kl(standard(x)).item()
    assert estimate.mean().item() == pytest.approx(exact, abs=6 * estimate.std().item() / 20_000**0.5 + 1e-6)


def test_distorted_images_are_other_images_and_repeat_with_the_seed(batch):
    x = batch.images / 255
    first, second = (distort(x, 1.0, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0 and first.max() <= 1 and not torch.allclose(first, x, atol=0.2)
    assert first.mean().item() == pytest.approx(x.mean().item(), rel=0.1)


def test_images_are_distorted_until_their_share_of_the_run_is_over(batch):
    model = VAE(3, hidden_dims=(8,))
    losses = {}
    for epoch in (1, 2, 3):
        for augment in (0.0, 2.0):
            knobs = {"num_epochs": 3, "augment": augment, "augment_until": 0.67}
            losses[epoch, augment] = one_step(copy.deepcopy(model), batch, epoch=epoch, **knobs)["loss"]
    assert losses[1, 0.0] != losses[1, 2.0] and losses[2, 0.0] != losses[2, 2.0]
    assert losses[3, 0.0] == losses[3, 2.0]


def test_a_distortion_of_no_strength_changes_the_contrast_only(batch):
    x = batch.images / 255
    still = distort(x, 1e-9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, ((x - 0.5) * 1.15 + 0.5).clamp(0, 1), atol=1e-4, rtol=0)


def test_distorting_moves_as_far_as_it_says():
    """A dot in the middle moves by SHIFT half-widths: 0.04 · 14 = 0.56 pixels, standard deviation along each axis.

    2,000 dots: the standard deviation is known to 1.6 %; six of that.
    """
    x = torch.zeros(2000, 1, 29, 29)
    x[:, :, 13:16, 13:16] = 1
    moved = distort(x, 1.0, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    place = torch.arange(29.0)
    columns = (moved.sum((1, 2)) * place).sum(1) / moved.sum((1, 2, 3))
    assert columns.std().item() == pytest.approx(0.04 * 29 / 2, rel=0.12)
