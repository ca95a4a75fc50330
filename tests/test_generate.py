import pytest
import torch

from vae import VAE
from vae.errors import UsageError
from vae.generate import sample


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
    with pytest.raises(UsageError, match="classes 0 to 2"):
        sample(model, 3, digits=(3,))
