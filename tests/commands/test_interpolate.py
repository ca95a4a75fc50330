import math

import pytest
import torch

from vae.commands.interpolate import path_between


def test_a_linear_path_is_the_straight_line_and_holds_its_ends():
    z1, z2 = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    found = path_between(z1, z2, steps=7)
    torch.testing.assert_close(found, torch.stack([z1 + (z2 - z1) * step / 6 for step in range(7)]))
    assert torch.equal(path_between(z1, z2, steps=2), torch.stack([z1, z2]))
    with pytest.raises(ValueError, match="at least its two ends"):
        path_between(z1, z2, steps=1)


def angles(points):
    unit = points / points.norm(dim=1, keepdim=True)
    return torch.acos((unit[1:] * unit[:-1]).sum(1).clamp(-1, 1))


def test_a_spherical_path_turns_evenly_and_changes_its_length_evenly():
    z1, z2 = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = path_between(z1, 3 * z2, steps=9, path="spherical")
    torch.testing.assert_close(found[[0, -1]], torch.stack([z1, 3 * z2]))
    whole = math.acos((z1 @ z2 / z1.norm() / z2.norm()).item())
    torch.testing.assert_close(angles(found), torch.full((8,), whole / 8, dtype=torch.float64))
    lengths = torch.linspace(z1.norm().item(), 3 * z2.norm().item(), 9, dtype=torch.float64)
    torch.testing.assert_close(found.norm(dim=1), lengths)


def test_opposite_ends_turn_by_a_half_circle():
    z = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = path_between(z, -z, steps=5, path="spherical")
    torch.testing.assert_close(found.norm(dim=1), z.norm().expand(5))
    torch.testing.assert_close(angles(found), torch.full((4,), math.pi / 4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("z1", "z2"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0], [-2.0]), ([1.0, 1.0], [2.0, 2.0])]
)
def test_ends_without_a_direction_between_them_are_joined_straight(z1, z2):
    z1, z2 = torch.tensor(z1), torch.tensor(z2)
    torch.testing.assert_close(path_between(z1, z2, steps=5, path="spherical"), path_between(z1, z2, steps=5))
