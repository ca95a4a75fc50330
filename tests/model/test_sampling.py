import math
from statistics import NormalDist

import pytest
import torch

from vae import VAE
from vae.model.sampling import path_between, sample, traverse
from vae.system.errors import UsageError


def test_samples_repeat_with_their_seed():
    model = VAE(latent_dim=3, hidden_dims=(8,))
    few, labels, _ = sample(model, 5, seed=1)
    many = sample(model, 1500, seed=1).images
    assert labels is None and few.shape == (5, 1, 28, 28) and many.shape == (1500, 1, 28, 28)
    torch.testing.assert_close(few, sample(model, 5, seed=1)[0])
    assert not torch.equal(few, sample(model, 5, seed=2)[0])


def test_temperature_scales_the_latents_and_zero_is_the_mode():
    model = VAE(latent_dim=3, hidden_dims=(8,))
    mode = sample(model, 4, temperature=0.0).images
    with torch.no_grad():
        torch.testing.assert_close(mode, model.decode(torch.zeros(4, 3)))
    wide, narrow = (sample(model, 200, temperature=t)[0].std(0).mean() for t in (1.0, 0.5))
    assert 0 < narrow < 0.8 * wide


def test_classes_of_a_conditional_model_come_in_turn():
    model = VAE(latent_dim=3, hidden_dims=(8,), num_classes=3)
    assert sample(model, 5).labels.tolist() == [0, 1, 2, 0, 1]
    assert sample(model, 3, digits=(2,)).labels.tolist() == [2, 2, 2]


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


def test_a_linear_path_is_the_straight_line_and_holds_its_ends():
    z1, z2 = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    points = path_between(z1, z2, steps=7)
    torch.testing.assert_close(points, torch.stack([z1 + (z2 - z1) * step / 6 for step in range(7)]))
    assert torch.equal(path_between(z1, z2, steps=2), torch.stack([z1, z2]))
    with pytest.raises(UsageError, match="needs at least 2"):
        path_between(z1, z2, steps=1)


def angles(points):
    unit = points / points.norm(dim=1, keepdim=True)
    return torch.acos((unit[1:] * unit[:-1]).sum(1).clamp(-1, 1))


def test_a_spherical_path_turns_evenly_and_changes_its_length_evenly():
    z1, z2 = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = path_between(z1, 3 * z2, steps=9, path="spherical")
    torch.testing.assert_close(points[[0, -1]], torch.stack([z1, 3 * z2]))
    whole = math.acos((z1 @ z2 / z1.norm() / z2.norm()).item())
    torch.testing.assert_close(angles(points), torch.full((8,), whole / 8, dtype=torch.float64))
    lengths = torch.linspace(z1.norm().item(), 3 * z2.norm().item(), 9, dtype=torch.float64)
    torch.testing.assert_close(points.norm(dim=1), lengths)


def test_opposite_ends_turn_by_a_half_circle():
    z = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    points = path_between(z, -z, steps=5, path="spherical")
    torch.testing.assert_close(points.norm(dim=1), z.norm().expand(5))
    torch.testing.assert_close(angles(points), torch.full((4,), math.pi / 4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("z1", "z2"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0], [-2.0]), ([1.0, 1.0], [2.0, 2.0])]
)
def test_ends_without_a_direction_between_them_are_joined_straight(z1, z2):
    z1, z2 = torch.tensor(z1), torch.tensor(z2)
    torch.testing.assert_close(path_between(z1, z2, steps=5, path="spherical"), path_between(z1, z2, steps=5))
