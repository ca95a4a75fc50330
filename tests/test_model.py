import pytest
import torch

from vae import VAE
from vae.model import reparameterize


def test_default_model_is_the_mlp_of_the_first_command():
    model = VAE(latent_dim=2)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(512, 784), (4, 512), (512, 2), (784, 512)]


def test_decoder_mirrors_the_encoder():
    model = VAE(3, hidden_dims=(40, 20))
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(40, 784), (20, 40), (6, 20), (20, 3), (40, 20), (784, 40)]


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 8, 6)])
def test_shapes_of_every_method(image_shape):
    model = VAE(5, hidden_dims=(16,), image_shape=image_shape)
    x = torch.rand(4, *image_shape)
    output = model(x)
    assert output.logits.shape == x.shape
    assert output.mu.shape == output.logvar.shape == output.z.shape == (4, 5)
    assert model.decode(output.z).shape == model.reconstruct(x).shape == x.shape
    assert model.sample(7).shape == (7, *image_shape)
    torch.testing.assert_close(model.encode(x.flatten(1))[0], output.mu)


def test_decode_gives_pixel_means_of_the_decoder_s_logits():
    model = VAE(2)
    z = torch.randn(6, 2) * 3
    means = model.decode(z)
    assert means.min() >= 0 and means.max() <= 1
    torch.testing.assert_close(torch.logit(means.double()).float(), model.decoder(z), atol=1e-4, rtol=1e-4)


def test_reconstruct_decodes_the_posterior_mean():
    model, x = VAE(2), torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x)[0]))


def test_reparameterize_scales_the_noise_by_the_standard_deviation():
    mu, logvar = torch.tensor([[1.0]]), torch.log(torch.tensor([[4.0]]))
    assert reparameterize(mu, logvar, torch.tensor([[3.0]])).item() == pytest.approx(7.0)


def test_noise_is_drawn_in_eval_mode_too():
    model, x = VAE(2).eval(), torch.rand(1, 1, 28, 28)
    assert not torch.equal(model(x).z, model(x).z)


def test_every_parameter_gets_a_gradient_through_the_sample():
    model = VAE(2)
    output = model(torch.rand(4, 1, 28, 28), torch.randn(4, 2))
    output.logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_sample_repeats_with_its_generator():
    model = VAE(2)
    first, second = (model.sample(3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
