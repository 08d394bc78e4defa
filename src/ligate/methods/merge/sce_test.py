from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.sce import sce

BASE = torch.zeros(4)
TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def by_definition(base, tuned, density):
    """Whole tensors in float64."""
    tau = tuned - base
    variance = (tau - tau[0]).var(0)  # exactly zero for equal numbers
    k = int(density * np.count_nonzero(variance))
    if density < 1:
        tau = tau * (variance >= np.sort(variance)[::-1][k - 1] if k else False)
    energy = (tau**2).sum(1)
    weights = energy / energy.sum() if energy.sum() else np.full(len(tau), 1 / len(tau))
    sign = np.where(tau.sum(0) >= 0, 1, -1)
    agree = weights[:, None] * (np.sign(tau) == sign)
    divisor = agree.sum(0)
    return base + (agree * tau).sum(0) / np.where(divisor == 0, 1, divisor)


def test_the_numbers_of_the_equation():
    torch.testing.assert_close(sce(BASE, TUNED, density=1), torch.tensor([3.197183, 2.401408, 3.0, 0.5]))


@pytest.mark.parametrize("density", [0.0, 0.01, 0.2, 0.7, 1.0])
def test_as_the_equation_says(density):
    draw = np.random.default_rng(2)
    base, tuned = draw.standard_normal(60), draw.standard_normal((3, 60))
    tuned[:, 20:40] = tuned[0, 20:40]  # no variance
    merged = sce(torch.from_numpy(base), torch.from_numpy(tuned), density=density).numpy()
    np.testing.assert_allclose(merged, by_definition(base, tuned, density), rtol=1e-12)


def test_equal_models_vary_nowhere():
    tuned = torch.rand(3, generator=torch.Generator().manual_seed(0)).expand(7, 3)
    assert torch.equal(sce(torch.ones(3), tuned, density=0.9), torch.ones(3))
    torch.testing.assert_close(sce(torch.ones(3), tuned, density=1), tuned[0])


def test_tiny_changes_weigh_as_the_parameter_says():
    tuned = torch.tensor([[3e-4], [1e-4]], dtype=torch.float64)
    base = torch.zeros(1, dtype=torch.float64)
    torch.testing.assert_close(sce(base, tuned, density=1), torch.tensor([2.8e-4], dtype=torch.float64))
    equal = sce(base, tuned, density=1, least_energy=1e-6)
    torch.testing.assert_close(equal, torch.tensor([2e-4], dtype=torch.float64))


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="at least 2 models"):
        sce(BASE, TUNED[:1])
    with pytest.raises(InputError, match="there is no base"):
        sce(None, TUNED)
