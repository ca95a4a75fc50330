import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from vae.model.losses import (
    Terms,
    bernoulli_mixture_recon,
    bernoulli_recon,
    continuous_bernoulli_mean,
    continuous_bernoulli_recon,
    free_bits_kl,
    gaussian_kl,
    gaussian_kl_per_dim,
    gaussian_log_density,
    iwae_bound,
    squared_error_recon,
    standard_normal_log_density,
    total_correlation,
)

torch.manual_seed(0)
LOGITS = torch.randn(5, 1, 4, 4, dtype=torch.float64) * 10
MU, LOGVAR = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)


def test_bernoulli_recon_is_the_negative_log_likelihood_of_binary_images():
    x = torch.bernoulli(torch.full_like(LOGITS, 0.3))
    expected = -Bernoulli(logits=LOGITS).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_recon(LOGITS, x), expected)


def test_bernoulli_recon_of_grey_pixels_is_the_expected_one_over_their_draws():
    x = torch.rand_like(LOGITS)
    bernoulli = Bernoulli(logits=LOGITS)
    ones, zeros = bernoulli.log_prob(torch.ones_like(x)), bernoulli.log_prob(torch.zeros_like(x))
    torch.testing.assert_close(bernoulli_recon(LOGITS, x), -(x * ones + (1 - x) * zeros).sum((1, 2, 3)))


def test_bernoulli_recon_s_gradient_is_that_of_its_value():
    x = torch.rand_like(LOGITS)
    assert torch.autograd.gradcheck(lambda logits: bernoulli_recon(logits, x), LOGITS.clone().requires_grad_())


def test_bernoulli_recon_in_float32_is_right_to_a_ten_thousandth_of_a_nat_per_image():
    logits, x = torch.randn(50, 784) * 10, torch.rand(50, 784)
    exact = bernoulli_recon(logits.double(), x.double())
    torch.testing.assert_close(bernoulli_recon(logits, x).double(), exact, rtol=1e-6, atol=1e-4)


def test_bernoulli_recon_s_gradient_at_logits_of_zero_is_one_half_less_the_pixel():
    x = torch.rand(3, 4, dtype=torch.float64)
    logits = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    bernoulli_recon(logits, x).sum().backward()
    torch.testing.assert_close(logits.grad, 0.5 - x)


def test_bernoulli_recon_of_black_and_white_pixels_is_exact_where_the_decoder_is_sure():
    logits = torch.tensor([[30.0, -30.0, 200.0, -200.0]])
    assert bernoulli_recon(logits, (logits > 0).float()).item() == 0.0
    assert bernoulli_recon(logits, (logits < 0).float()).item() == 460.0


def test_bernoulli_recon_stays_finite_and_right_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]])
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(bernoulli_recon(logits, x), torch.tensor([2e4]))


def test_bernoulli_mixture_recon_is_that_of_torch_s_mixtures():
    logits, log_weights = torch.randn(2, 5, 6, 3, 4).double(), torch.randn(2, 5, 6, 3).double()  # (S, B, N, K, M)
    patches = torch.bernoulli(torch.full((5, 6, 4), 0.3).double())
    mixture = MixtureSameFamily(Categorical(logits=log_weights), Independent(Bernoulli(logits=logits), 1))
    expected = -mixture.log_prob(patches).sum(-1)
    torch.testing.assert_close(bernoulli_mixture_recon(logits, log_weights, patches), expected)


def test_gaussian_kl_is_the_divergence_of_torch_distributions():
    expected = kl_divergence(Normal(MU, (0.5 * LOGVAR).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(gaussian_kl(MU, LOGVAR), expected)


def test_gaussian_kl_is_zero_at_the_prior_and_positive_elsewhere():
    zero = torch.zeros(1, 3)
    assert gaussian_kl(zero, zero).item() == 0
    assert (gaussian_kl(MU, LOGVAR) > 0).all()


def test_elbo_bounds_the_evidence_of_a_linear_gaussian_model():
    """x = z + noise with unit variances: log p(x) = log N(x; 0, 2), and q equal to the posterior makes the bound tight.

    With recon in closed form under q = N(x/2, 1/2); no sampling, so equality is exact.
    """
    x = torch.linspace(-2, 2, 5, dtype=torch.float64).unsqueeze(1)
    mu, logvar = x / 2, torch.full_like(x, 0.5).log()
    recon = (0.5 * ((x - mu).square() + 0.5) + 0.5 * torch.log(torch.tensor(2 * torch.pi))).sum(1)
    evidence = Normal(0.0, 2**0.5).log_prob(x).sum(1)
    torch.testing.assert_close(Terms(recon, gaussian_kl(mu, logvar)).elbo, evidence)
    assert (Terms(recon + 0.1, gaussian_kl(mu, logvar)).elbo < evidence).all()


def test_squared_error_is_a_gaussian_of_variance_one_half_less_its_constant():
    x = torch.rand_like(LOGITS)
    density = -Normal(torch.sigmoid(LOGITS), 0.5**0.5).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(squared_error_recon(LOGITS, x), density - 16 * 0.5 * math.log(math.pi))


def test_continuous_bernoulli_recon_is_torch_s_away_from_one_half():
    logits = LOGITS[(LOGITS.abs() > 0.5) & (LOGITS.abs() < 15)].unsqueeze(0)  # torch clamps probabilities beyond
    x = torch.rand_like(logits)
    expected = -ContinuousBernoulli(logits=logits, lims=(0.499, 0.501)).log_prob(x).sum(1)
    torch.testing.assert_close(continuous_bernoulli_recon(logits, x), expected)


def test_continuous_bernoulli_integrates_to_one_everywhere():
    """Gauss-Legendre quadrature over x, at logits on both sides of the series' edge and at exactly one half."""
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(80))
    x = (nodes + 1) / 2
    for logit in (0.0, 1e-12, 1e-4, 0.0999, 0.1001, -0.0999, 0.4999, -0.5001, -3.0, 8.0):
        density = torch.exp(-continuous_bernoulli_recon(torch.full((80, 1), logit, dtype=torch.float64), x[:, None]))
        assert (weights / 2 * density).sum().item() == pytest.approx(1, abs=1e-8)
        mean = continuous_bernoulli_mean(torch.tensor(logit, dtype=torch.float64))
        assert (weights / 2 * density * x).sum().item() == pytest.approx(mean.item(), abs=1e-8)


def test_continuous_bernoulli_gradients_are_finite_and_right_near_one_half():
    logits = torch.tensor(
        [[0.0], [1e-20], [0.0999], [0.1001], [-60.0], [60.0]], dtype=torch.float64, requires_grad=True
    )
    x = torch.full_like(logits, 0.25)
    continuous_bernoulli_recon(logits, x).sum().backward()
    # d/dl of -log p is E[x] - x
    torch.testing.assert_close(logits.grad, continuous_bernoulli_mean(logits.detach()) - 0.25, atol=1e-7, rtol=1e-6)


def test_continuous_bernoulli_mean_is_as_precise_as_its_numbers():
    logits = torch.linspace(-20, 20, 40_001)
    difference = continuous_bernoulli_mean(logits) - continuous_bernoulli_mean(logits.double())
    assert difference.abs().max() < 5e-7


def test_continuous_bernoulli_mean_has_finite_gradients_at_extreme_logits():
    logits = torch.tensor([-300.0, -89.0, 89.0, 300.0], requires_grad=True)
    continuous_bernoulli_mean(logits).sum().backward()
    torch.testing.assert_close(logits.grad, 1 / logits.detach().square())


def test_the_kl_per_latent_adds_up_and_is_torch_s():
    expected = kl_divergence(Normal(MU, (0.5 * LOGVAR).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl_per_dim(MU, LOGVAR), expected)


def test_free_bits_hold_each_latent_s_batch_mean_at_least_there():
    kl = torch.tensor([[0.0, 3.0, 1.0], [0.2, 5.0, 0.0]])
    assert free_bits_kl(kl, 0.0).item() == pytest.approx(0.1 + 4.0 + 0.5)
    assert free_bits_kl(kl, 0.3).item() == pytest.approx(0.3 + 4.0 + 0.5)


def aggregate_log_density(z, mu, logvar):
    """log q(z), (...,): q(z) is the mean of q(z|x) over the images of a whole set, by torch.distributions."""
    images = Categorical(torch.ones(len(mu), dtype=mu.dtype))
    return MixtureSameFamily(images, Independent(Normal(mu, (0.5 * logvar).exp()), 1)).log_prob(z)


def exact_total_correlation(z, mu, logvar):
    parts = [aggregate_log_density(*(tensor[..., [d]] for tensor in (z, mu, logvar))) for d in range(mu.shape[1])]
    return aggregate_log_density(z, mu, logvar) - sum(parts)


@pytest.mark.parametrize("samples", [(), (4,)])
def test_the_total_correlation_of_a_batch_that_is_the_whole_set_is_exact(samples):
    z = MU + (0.5 * LOGVAR).exp() * torch.randn(*samples, *MU.shape, dtype=torch.float64)
    expected = exact_total_correlation(z, MU, LOGVAR)
    torch.testing.assert_close(total_correlation(z, MU, LOGVAR, num_images=len(MU)), expected)


def test_the_batches_of_a_set_estimate_its_aggregate_posterior_without_bias():
    """The second latent tells the images apart for sure, so that the total correlation is log q(z_1|x) / q(z_1)."""
    mu, logvar = MU[:, :2].clone(), LOGVAR[:, :2].clone()
    mu[:, 1], logvar[:, 1] = 1000 * torch.arange(7), 0
    for size in (2, 4, 7):
        densities = []
        for others in combinations(range(1, 7), size - 1):
            batch = [0, *others]
            estimate = total_correlation(mu[batch], mu[batch], logvar[batch], num_images=7)[0]
            densities.append(Normal(mu[0, 0], (0.5 * logvar[0, 0]).exp()).log_prob(mu[0, 0]) - estimate)
        expected = aggregate_log_density(mu[0, :1], mu[:, :1], logvar[:, :1])
        torch.testing.assert_close(torch.stack(densities).exp().mean().log(), expected)


def test_the_total_correlation_of_parts_of_a_set_comes_near_the_whole_s_as_they_grow():
    mu = torch.randn(200, 1, dtype=torch.float64) + 0.3 * torch.randn(
        200, 3, dtype=torch.float64
    )  # of correlated latents
    logvar = torch.full_like(mu, -2)
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    exact, errors = exact_total_correlation(z, mu, logvar).mean(), []
    for size in (20, 50, 100):
        batches = [torch.randperm(200)[:size] for _ in range(200)]
        means = [total_correlation(z[part], mu[part], logvar[part], num_images=200).mean() for part in batches]
        errors.append(abs(torch.stack(means).mean() - exact).item())
    assert exact > 0.5 and errors[0] < 0.25 * exact and errors == sorted(errors, reverse=True)


def test_an_image_alone_in_its_batch_has_no_total_correlation():
    assert total_correlation(MU[None, :1], MU[:1], LOGVAR[:1], num_images=9).tolist() == [[0]]


def test_densities_are_torch_s():
    z, mu, logvar = torch.randn(3, 4, 5, 2, dtype=torch.float64)
    expected = Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(gaussian_log_density(z, mu, logvar), expected)
    torch.testing.assert_close(standard_normal_log_density(z), Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_iwae_bound_is_the_log_of_the_mean_weight_and_survives_weights_that_float_can_t_hold():
    weights = torch.rand(8, 3, dtype=torch.float64)
    torch.testing.assert_close(iwae_bound(weights.log()), weights.mean(0).log())
    torch.testing.assert_close(iwae_bound(weights.log() - 1e5), weights.mean(0).log() - 1e5)
