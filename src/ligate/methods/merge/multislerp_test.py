from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.karcher import karcher
from ligate.methods.merge.multislerp import multislerp

TWO = torch.tensor([[3.0, 0.0], [0.0, 1.0]])


def with_the_step_in_tangent_space(models, weights):
    """All that mergekit computes, in float64."""
    shares = np.array(weights) / sum(weights)
    lengths = np.linalg.norm(models, axis=1)
    units = models / lengths[:, None]
    mean = shares @ units
    mean /= np.linalg.norm(mean)
    step = shares @ (units - (units @ mean)[:, None] * mean)
    size = np.linalg.norm(step) + 1e-300
    return (np.cos(size) * mean + np.sin(size) / size * step) * (shares @ lengths)


def test_equal_weights():
    torch.testing.assert_close(multislerp(None, TWO), torch.tensor([2.0, 2.0]) / 2**0.5)


def test_the_step_in_tangent_space_adds_nothing():
    draw = np.random.default_rng(3)
    models, weights = draw.standard_normal((4, 30)) + 0.5, (0.5, 1.5, -0.3, 1.0)
    merged = multislerp(None, torch.from_numpy(models), weight=weights).numpy()
    np.testing.assert_allclose(merged, with_the_step_in_tangent_space(models, weights), rtol=1e-12)


def test_unlike_weights_are_not_slerp():
    merged = multislerp(None, TWO, weight=(0.75, 0.25))
    assert (merged - karcher(None, TWO, weight=(0.75, 0.25))).abs().max() > 0.1


def test_with_a_base_the_changes_of_it_are_averaged():
    base = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(multislerp(base, base + TWO), base + multislerp(None, TWO))
    assert torch.equal(multislerp(base, base.expand(3, 2)), base)


def test_directions_that_cancel_out_leave_the_weighted_sum():
    a = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(multislerp(None, torch.stack([a, -2 * a])), -a / 2)


def test_without_normalisation_the_weights_also_scale():
    torch.testing.assert_close(multislerp(None, TWO, weight=2, normalize=False), 2 * 2**0.5 * torch.ones(2) * 2)


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="sum to zero"):
        multislerp(None, TWO, weight=(1, -1))
    with pytest.raises(InputError, match=r"base is \(3,\), models are \(2,\)"):
        multislerp(torch.zeros(3), TWO)
