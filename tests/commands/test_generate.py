from statistics import NormalDist

import pytest
import torch

from vae import VAE
from vae.commands.generate import sample, traverse
from vae.system.errors import UsageError


def test_samples_repeat_with_their_seed():
    model = VAE(latent_dim=3, hidden_dims=(8,))
    few, labels = sample(model, 5, seed=1)
    many, _ = sample(model, 1500, seed=1)
    assert labels is None and few.shape == (5, 1, 28, 28) and many.shape == (1500, 1, 28, 28)
    torch.testing.assert_close(few, sample(model, 5, seed=1)[0])
    assert not torch.equal(few, sample(model, 5, seed=2)[0])


def test_temperature_scales_the_latents_and_zero_is_the_mode():
    model = VAE(latent_dim=3, hidden_dims=(8,))
    mode, _ = sample(model, 4, temperature=0.0)
    with torch.no_grad():
        torch.testing.assert_close(mode, model.decode(torch.zeros(4, 3)))
    wide, narrow = (sample(model, 200, temperature=t)[0].std(0).mean() for t in (1.0, 0.5))
    assert 0 < narrow < 0.8 * wide


def test_classes_of_a_conditional_model_come_in_turn():
    model = VAE(latent_dim=3, hidden_dims=(8,), num_classes=3)
    assert sample(model, 5)[1].tolist() == [0, 1, 2, 0, 1]
    assert sample(model, 3, digits=(2,))[1].tolist() == [2, 2, 2]
    with pytest.raises(UsageError, match="classes are 0 to 2"):
        sample(model, 3, digits=(3,))


def test_a_sweep_changes_one_latent_over_the_prior_s_quantiles():
    model = VAE(latent_dim=3, hidden_dims=(8,))
    probabilities, base = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.3, -1.0, 2.0])
    sweep = traverse(model, [2, 0], probabilities, base=base)
    assert sweep.shape == (2, 3, 1, 28, 28)
    with torch.no_grad():
        for row, unit in enumerate((2, 0)):
            for column, value in enumerate((NormalDist().inv_cdf(0.1), 0.0, NormalDist().inv_cdf(0.9))):
                z = base.clone()
                z[unit] = value
                torch.testing.assert_close(sweep[row, column], model.decode(z[None])[0])
        middle = traverse(model, [1], torch.tensor([0.5]))[0]
        torch.testing.assert_close(middle, model.decode(torch.zeros(1, 3)))
