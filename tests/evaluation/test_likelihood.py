"""Importance-weighted bounds against models whose log p(x) is known in closed form."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.evaluation.likelihood import _noise, importance_bounds
from vae.model.vae import VAE
from vae.system.distributed import ProcessGroup

PIXELS, LATENTS = 900, 3
HALF_LOG_PI = 0.5 * math.log(math.pi)  # a pixel's constant that the squared error leaves out


class LinearVAE(VAE):
    """Probabilistic PCA: x = W z + b + noise of variance 1/2, written in the logits that the VAE's squared error takes.

    W is small enough for every pixel mean to lie in (0, 1) whatever z a test draws, and large enough for z to matter.
    """

    def __init__(self, *, widen: float = 1.0, shift: float = 0.0) -> None:
        super().__init__(LATENTS, hidden_dims=(1,), image_shape=(1, 30, 30), recon_loss="mse")
        generator = torch.Generator().manual_seed(1)
        self.weight = 0.03 * torch.randn(PIXELS, LATENTS, generator=generator).sign()
        self.precision = torch.eye(LATENTS) + 2 * self.weight.T @ self.weight  # of p(z|x)
        self.widen, self.shift = widen, shift

    def encode(self, x, y=None):
        """p(z|x)'s mean and marginal variances, spoilt as asked for."""
        covariance = torch.linalg.inv(self.precision)
        mu = (x.flatten(1) - 0.5) @ (2 * self.weight) @ covariance
        return mu + self.shift, (self.widen * covariance.diagonal()).log().expand(len(x), -1)

    def logits(self, z, y=None):
        return torch.logit(0.5 + z @ self.weight.T).unflatten(-1, (1, 30, 30))

    def evidence(self, x):
        """log p(x) in closed form: N(b, W Wᵀ + I / 2)."""
        weight = self.weight.double()
        covariance = weight @ weight.T + 0.5 * torch.eye(PIXELS, dtype=torch.float64)
        mean = torch.full((PIXELS,), 0.5, dtype=torch.float64)
        return MultivariateNormal(mean, covariance).log_prob(x.flatten(1).double())


def split_of(count: int, shape: tuple[int, ...] = (1, 30, 30)) -> Split:
    images = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Split(images, torch.arange(count) % 3)


def test_the_evidence_of_a_linear_gaussian_model_is_recovered():
    """120 images, two blocks; the standard error over images is that of the estimate's error, within four of which."""
    model, split = LinearVAE(widen=1.5, shift=0.3), split_of(120)
    bounds = importance_bounds(model, split, num_samples=200)
    error = -bounds.nll - PIXELS * HALF_LOG_PI - model.evidence(to_pixels(split.images))
    assert abs(error.mean()) < 4 * error.std() / len(error) ** 0.5  # fails once in 16,000 seeds
    assert error.abs().max() < 0.3
    assert (bounds.elbo < -bounds.nll - 0.05).all()  # the spoilt posterior costs more than it errs


def test_the_bound_grows_with_the_number_of_samples():
    model, split = LinearVAE(widen=2.5, shift=0.5), split_of(60)
    elbo, *bounds = (-importance_bounds(model, split, num_samples=count).nll.mean() for count in (1, 10, 500))
    assert elbo < bounds[0] < bounds[1]
    exact = model.evidence(to_pixels(split.images)).mean() + PIXELS * HALF_LOG_PI
    assert bounds[1] == pytest.approx(exact.item(), abs=0.05)


def test_the_elbo_is_that_of_closed_form_terms():
    model, split = LinearVAE(widen=1.5, shift=0.3), split_of(50)
    x = to_pixels(split.images)
    bounds = importance_bounds(model, split, num_samples=2000)
    mu, logvar = model.encode(x)
    mean = 0.5 + mu @ model.weight.T
    spread = (logvar.exp() @ model.weight.T.square()).sum(1)
    expected = (x.flatten(1) - mean).square().sum(1) + spread
    torch.testing.assert_close(bounds.recon, expected.double(), atol=0.1, rtol=0)
    divergence = torch.distributions.kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(bounds.kl, divergence.double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(bounds.elbo, -(bounds.recon + bounds.kl))


def test_every_sample_counts_in_full_where_q_is_the_exact_posterior():
    model, split = LinearVAE(), split_of(30)
    gram = model.precision
    model.weight = model.weight @ torch.linalg.eigh(gram).eigenvectors  # a posterior with independent latents
    model.precision = torch.eye(LATENTS) + 2 * model.weight.T @ model.weight
    bounds = importance_bounds(model, split, num_samples=60)
    torch.testing.assert_close(bounds.ess, torch.full((30,), 60.0, dtype=torch.float64), rtol=1e-4, atol=0)
    exact = model.evidence(to_pixels(split.images)) + PIXELS * HALF_LOG_PI
    torch.testing.assert_close(-bounds.nll, exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"arch": "conv", "base_channels": 4}, {"num_classes": 3}])
def test_figures_don_t_depend_on_what_is_decoded_at_a_time_nor_on_the_images_beside(settings):
    model, split = VAE(2, hidden_dims=(16,), image_shape=(1, 12, 12), **settings), split_of(110, (1, 12, 12))
    whole = importance_bounds(model, split, num_samples=70)
    seen = []
    pieces = importance_bounds(model, split, num_samples=70, logits_at_once=7 * 144, on_samples=seen.append)
    beginning = importance_bounds(model, split.take(torch.arange(40)), num_samples=70)
    assert sum(seen) == 110 * 70
    for name in whole._fields:
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=1e-6, atol=1e-4)
        torch.testing.assert_close(getattr(beginning, name), getattr(whole, name)[:40], rtol=1e-6, atol=1e-4)


def test_running_sums_are_the_formula_over_all_samples_at_once():
    """The noise drawn again, the weights computed plainly in float64."""
    model, split = VAE(2, hidden_dims=(16,), image_shape=(1, 12, 12)), split_of(5, (1, 12, 12))
    bounds = importance_bounds(model, split, num_samples=120, seed=3)
    eps = torch.cat([_noise(3, 0, block, 2) for block in range(3)])[:120, :5].double()
    model, x = model.double(), to_pixels(split.images).double()
    mu, logvar = model.encode(x)
    mu, logvar = mu.double(), logvar.double()
    std = (0.5 * logvar).exp()
    z = mu + std * eps
    log_p = torch.distributions.Bernoulli(
        logits=model.logits(z.flatten(0, 1)).unflatten(0, (120, 5)), validate_args=False
    )
    log_joint = log_p.log_prob(x).sum((2, 3, 4)) + Normal(0.0, 1.0).log_prob(z).sum(2)
    weights = (log_joint - Normal(mu, std).log_prob(z).sum(2)).exp()
    torch.testing.assert_close(-bounds.nll, weights.mean(0).log(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(bounds.ess, weights.sum(0) ** 2 / weights.square().sum(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [2, 5])
def test_processes_that_take_blocks_in_turn_have_the_bounds_of_one_to_the_bit(size):
    """250 images make three blocks: of two processes one has a single block, of five some have none."""

    class Apart(ProcessGroup):
        def all_reduce(self, tensor):
            return tensor

        def wait_for_all(self):
            pass

    model, split, decoded = LinearVAE(widen=1.5), split_of(250), []
    whole = importance_bounds(model, split, num_samples=60)
    ranks = [Apart(rank, size) for rank in range(size)]
    parts = [importance_bounds(model, split, num_samples=60, processes=rank) for rank in ranks]
    for name, values in whole._asdict().items():
        assert torch.equal(sum(getattr(part, name) for part in parts), values)
    importance_bounds(model, split, num_samples=60, processes=ranks[0], on_samples=decoded.append)
    assert sum(decoded) == 250 * 60  # the main process's bar counts what all have done
