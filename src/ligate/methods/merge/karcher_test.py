from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.methods.merge.karcher import karcher


def by_definition(models, weights, rounds=500):
    """The iteration on whole vectors, in float64, far beyond convergence."""
    shares = np.array(weights) / sum(weights)
    lengths = np.linalg.norm(models, axis=1)
    units = models / lengths[:, None]
    mean = shares @ units
    mean /= np.linalg.norm(mean)
    for _ in range(rounds):
        angles = np.arccos(np.clip(units @ mean, -1, 1))
        step = sum(a * t / np.sin(t) * (u - np.cos(t) * mean) for a, t, u in zip(shares, angles, units, strict=True))
        size = np.linalg.norm(step)
        if size < 1e-15:
            break
        mean = np.cos(size) * mean + np.sin(size) * step / size
    return mean * (shares @ lengths)


@pytest.mark.parametrize("models", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0])
def test_the_mean_of_models_near_and_far_from_each_other(models, spread):
    draw = np.random.default_rng(models)
    tensors = draw.standard_normal(40) + spread * draw.standard_normal((models, 40))
    weights = draw.uniform(0.2, 1, models)
    merged = karcher(None, torch.from_numpy(tensors), weight=tuple(weights))
    np.testing.assert_allclose(merged.numpy(), by_definition(tensors, weights), rtol=1e-9, atol=1e-12)


def test_no_other_direction_has_smaller_angles():
    tensors = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    weights = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    units = tensors / tensors.norm(dim=1, keepdim=True)

    def spread(direction):
        return float((weights * torch.acos(units @ (direction / direction.norm())) ** 2).sum())

    mean = karcher(None, tensors, weight=weights.tolist())
    for axis in torch.eye(3, dtype=torch.float64):
        assert all(spread(mean + step * axis) > spread(mean) for step in (-1e-4, 1e-4))


@pytest.mark.parametrize("t", [0.1, 0.5, 0.75])
def test_for_two_models_it_is_slerp_of_the_directions(t):
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])
    merged = karcher(None, torch.stack([a, b]), weight=(1 - t, t))
    length, angle = 3 * (1 - t) + t, t * math.pi / 2
    torch.testing.assert_close(merged, length * torch.tensor([math.cos(angle), math.sin(angle)]))


def test_zeros_shorten_but_do_not_turn():
    a = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(karcher(None, torch.stack([a, a * 0])), a / 2)
    assert torch.equal(karcher(None, torch.zeros(2, 2)), torch.zeros(2))


def test_where_directions_cancel_out_the_average_takes_their_place():
    a = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(karcher(None, torch.stack([a, -a / 2])), a / 4)
    star = torch.tensor([[1.0, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
    torch.testing.assert_close(karcher(None, star), star.mean(0))


def test_an_opposite_model_pulls_in_no_direction():
    a = torch.tensor([1.0, 0.0])
    merged = karcher(None, torch.stack([a, a, -a]))
    torch.testing.assert_close(merged, a)


def test_one_model_and_equal_models():
    a = torch.tensor([0.3, -0.7, 0.1])
    torch.testing.assert_close(karcher(None, a[None]), a)
    torch.testing.assert_close(karcher(None, a.expand(4, 3)), a)


def test_weights_that_sum_to_zero_are_refused():
    with pytest.raises(RecipeError, match="sum to zero"):
        karcher(None, torch.ones(2, 3), weight=0)
