import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from vae.losses import bernoulli_recon, elbo, gaussian_kl

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


def test_bernoulli_recon_stays_finite_and_right_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]])
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(bernoulli_recon(logits, x), torch.tensor([2e4]))


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
    torch.testing.assert_close(elbo(recon, gaussian_kl(mu, logvar)), evidence)
    assert (elbo(recon + 0.1, gaussian_kl(mu, logvar)) < evidence).all()
