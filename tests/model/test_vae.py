import copy
import itertools

import pytest
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli

from vae import VAE, interpolate
from vae.model.networks import ACTIVATIONS
from vae.model.vae import reparameterize
from vae.system.errors import UsageError


def test_default_model_is_the_mlp_of_the_first_command():
    model = VAE(latent_dim=2)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(512, 784), (4, 512), (512, 2), (784, 512)]


def test_decoder_mirrors_the_encoder():
    model = VAE(3, hidden_dims=(40, 20))
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(40, 784), (20, 40), (6, 20), (20, 3), (40, 20), (784, 40)]


@pytest.mark.parametrize("arch", ["mlp", "conv", "mixer"])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (1, 32, 32), (1, 64, 64), (3, 8, 12)])
def test_shapes_of_every_method(arch, classes, image_shape):
    nets = {"arch": arch, "hidden_dims": (16,), "base_channels": 4, "activation": "silu"}  # few, and none of them dead
    model = VAE(5, image_shape=image_shape, num_classes=classes, **nets)
    x, y = torch.rand(4, *image_shape), torch.tensor([0, 2, 1, 1])
    output = model(x, y)
    assert output.logits.shape == x.shape
    assert output.mu.shape == output.logvar.shape == output.z.shape == (4, 5)
    assert model.decode(output.z, y).shape == model.reconstruct(x, y).shape == x.shape
    assert model.sample(4, y).shape == x.shape
    torch.testing.assert_close(model.encode(x.flatten(1), y)[0], output.mu)
    assert all(p.grad is None for p in model.parameters())
    output.logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_conv_nets_are_four_convolutions_with_the_middle_two_strided():
    model = VAE(2, arch="conv", base_channels=64, activation="leaky_relu")
    convs = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0]) for m in convs] == [
        (1, 64, 1),
        (64, 64, 2),
        (64, 64, 2),
        (64, 64, 1),
    ]
    transposed = [m for m in model.decoder.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert [(m.out_channels, m.stride[0]) for m in transposed] == [(64, 1), (64, 2), (64, 2), (1, 1)]


@pytest.mark.parametrize(
    "options", [{}, {"block": "residual"}, {"arch": "conv", "base_channels": 4}, {"arch": "mixer"}]
)
def test_leaky_relu_has_the_slope_that_is_asked_for_in_every_net(options):
    for asked, expected in (({}, 0.01), ({"negative_slope": 0.2}, 0.2)):
        model = VAE(2, hidden_dims=(4, 4), activation="leaky_relu", **options, **asked)
        for net in (model.encoder, model.decoder):
            slopes = [m.negative_slope for m in net.modules() if isinstance(m, torch.nn.LeakyReLU)]
            assert len(slopes) >= 2 and set(slopes) == {expected}


@pytest.mark.parametrize("arch", ["mlp", "conv", "mixer"])
def test_a_conditional_model_uses_its_labels_and_asks_for_them(arch):
    model = VAE(2, arch=arch, hidden_dims=(16,), base_channels=4, num_classes=10, activation="silu")
    x, z = torch.rand(1, 1, 28, 28), torch.zeros(1, 2)
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert not torch.equal(model.decode(z, zero), model.decode(z, one))
    assert not torch.equal(model.encode(x, zero)[0], model.encode(x, one)[0])
    assert model.sample(3, one).shape == (3, 1, 28, 28)
    with pytest.raises(ValueError, match="needs labels y"):
        model.decode(z)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "silu", "gelu", "tanh"])
def test_activations_stand_between_the_layers(activation):
    kinds = [type(m) for m in VAE(2, hidden_dims=(4, 4), activation=activation).modules()]
    assert kinds.count(ACTIVATIONS[activation]) == 4


def test_a_continuous_bernoulli_s_decode_is_its_mean_not_its_parameter():
    model, z = VAE(2, recon_loss="continuous_bernoulli"), torch.randn(3, 2) * 5
    expected = ContinuousBernoulli(logits=model.logits(z).double()).mean.float()
    torch.testing.assert_close(model.decode(z), expected, atol=1e-5, rtol=1e-4)


def test_a_mixture_s_probabilities_of_all_images_add_up_to_one_and_its_mean_is_theirs():
    model = VAE(3, hidden_dims=(8,), image_shape=(1, 2, 4), mixture_components=3, patch_size=2)
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8))).view(-1, 1, 2, 4)
    logits = 3 * model.logits(torch.randn(1, 3)).double()
    probability = torch.exp(-model.recon(logits.expand(len(x), -1, -1, -1), x.double()))
    torch.testing.assert_close(probability.sum(), torch.tensor(1.0).double())
    torch.testing.assert_close((probability[:, None, None, None] * x).sum(0), model.likelihood.mean(logits)[0])
    together = probability @ (x[:, 0, 0, 0] * x[:, 0, 1, 1]).double()
    apart = model.likelihood.mean(logits)[0, 0, [0, 1], [0, 1]].prod()
    assert abs(together - apart) > 0.01  # pixels of a patch depend on each other
    drawn = model.likelihood.draw(logits.expand(50_000, -1, -1, -1), generator=torch.Generator().manual_seed(0))
    frequency = (drawn[:, 0, 0, 0] * drawn[:, 0, 1, 1]).mean()
    assert abs(frequency - together) < 0.012  # five standard deviations of a frequency, at most
    torch.testing.assert_close(drawn.mean(0), model.likelihood.mean(logits)[0], atol=0.012, rtol=0)


def test_a_mixer_s_layers_are_shared_by_patches_and_by_features():
    """A block has the weights that its paper says, and moving an image's patches about changes nothing else."""
    model = VAE(3, arch="mixer", patch_width=6, image_shape=(1, 8, 8), patch_size=4, activation="silu")
    block = model.decoder.mixers[0]
    shapes = [tuple(p.shape) for p in block.parameters() if p.ndim == 2]
    assert sorted(shapes) == sorted([(64, 4), (4, 64), (12, 6), (6, 12)])
    h, order = torch.randn(2, 4, 6), torch.tensor([2, 0, 3, 1])
    only_features = copy.deepcopy(block)
    torch.nn.init.zeros_(only_features.patch_outer.weight)
    torch.nn.init.zeros_(only_features.patch_outer.bias)
    torch.testing.assert_close(only_features(h[:, order]), only_features(h)[:, order])
    assert not torch.allclose(block(h[:, order]), block(h)[:, order], atol=1e-3)


@pytest.mark.parametrize("mixture", [{}, {"mixture_components": 3}])
def test_a_mixer_draws_every_patch_in_its_place(mixture):
    model = VAE(2, arch="mixer", patch_width=5, image_shape=(1, 8, 12), patch_size=4, **mixture)
    image = torch.rand(1, 8, 12).clamp(0.01, 0.99)
    torch.nn.init.zeros_(model.decoder.head.weight)
    with torch.no_grad():
        model.decoder.set_bias(model.likelihood.logits_of(image))
    torch.testing.assert_close(model.decode(torch.randn(1, 2))[0], image)


def test_interpolation_runs_straight_from_end_to_end():
    model, z1, z2 = VAE(3), torch.randn(1, 3), torch.randn(1, 3)
    images = interpolate(model, z1, z2, steps=5)
    assert images.shape == (5, 1, 28, 28) and not images.requires_grad
    torch.testing.assert_close(images[[0, 2, 4]], model.decode(torch.cat([z1, (z1 + z2) / 2, z2])))
    with pytest.raises(UsageError, match="steps 1: a path needs at least 2"):
        interpolate(model, z1, z2, steps=1)


def test_decode_gives_pixel_means_of_the_decoder_s_logits():
    model = VAE(2)
    z = torch.randn(6, 2) * 3
    means = model.decode(z)
    assert means.min() >= 0 and means.max() <= 1
    torch.testing.assert_close(torch.logit(means.double()).float(), model.decoder(z), atol=1e-4, rtol=1e-4)


def test_unscaled_images_are_refused():
    with pytest.raises(ValueError, match=r"pixels must be floats in \[0, 1\]"):
        VAE(2).encode(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match="pixels from 0 to 255"):
        VAE(2)(torch.linspace(0, 255, 784).reshape(1, 784))


def test_impossible_nets_are_refused():
    for name in ("arch", "prior", "recon_loss"):
        with pytest.raises(ValueError, match=f"{name} is 'cnn': choose from"):
            VAE(2, **{name: "cnn"})
    with pytest.raises(ValueError, match="multiples of 4"):
        VAE(2, arch="conv", image_shape=(1, 30, 30))
    with pytest.raises(ValueError, match="multiples of 5"):
        VAE(2, arch="mixer", patch_size=5)
    with pytest.raises(ValueError, match="a mixture needs arch mlp or mixer"):
        VAE(2, arch="conv", mixture_components=3)
    for options in ({"patch_size": 5}, {"patch_size": 0}, {"recon_loss": "mse"}):
        with pytest.raises(ValueError, match="a mixture needs recon_loss bce and patches that fill"):
            VAE(2, mixture_components=3, **options)


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


@pytest.mark.parametrize("prior", ["standard", "flow", "vamp"])
def test_a_recon_of_several_samples_is_each_one_s(prior):
    model = VAE(3, hidden_dims=(8,), prior=prior, num_pseudo_inputs=4)
    x = torch.rand(5, 1, 28, 28)
    output = model(x, eps=torch.randn(2, 5, 3))
    assert output.logits.shape == (2, 5, 1, 28, 28)
    expected = -Bernoulli(logits=output.logits).log_prob((x > 0.5).float()).sum((2, 3, 4))
    torch.testing.assert_close(model.recon(output.logits, (x > 0.5).float()), expected)
    single = torch.stack([model.logits(z) for z in output.z])
    torch.testing.assert_close(output.logits, single)
    assert model.sampled_kl(output).shape == (2, 5)


def test_several_samples_of_a_conditional_model_keep_their_labels():
    model = VAE(3, hidden_dims=(8,), num_classes=10)
    x, y, eps = torch.rand(5, 1, 28, 28), torch.arange(5), torch.randn(2, 5, 3)
    output = model(x, y, eps)
    for sample in range(2):
        torch.testing.assert_close(output.logits[sample], model(x, y, eps[sample]).logits)


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
