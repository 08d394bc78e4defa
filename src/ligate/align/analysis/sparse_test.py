from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ligate.align.analysis.correlation import standard
from ligate.align.analysis.sparse import lasso, sparse_prediction
from ligate.core.errors import RecipeError


def _planted() -> tuple[Tensor, Tensor]:
    """Every unit of b is made of two units of a, exactly."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(400, 12, generator=generator, dtype=torch.float64)
    weights = torch.zeros(12, 5, dtype=torch.float64)
    for unit in range(5):
        weights[2 * unit, unit], weights[2 * unit + 1, unit] = 1.0, -0.5
    return a, a @ weights


def test_worked_by_hand():
    """Orthonormal u, v: the lasso takes the strength off every product."""
    half = 0.5**0.5
    weights, settled = lasso(torch.eye(2), torch.tensor([[half], [half]]), 0.1)
    torch.testing.assert_close(weights, torch.full((2, 1), half - 0.1))
    assert settled


def test_weights_are_those_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(80, 10, generator=generator, dtype=torch.float64) @ torch.randn(
        10, 10, generator=generator, dtype=torch.float64
    )
    z, y = standard(z).values, standard(torch.randn(80, 3, generator=generator) + z[:, :3]).values
    for strength in (0.3, 0.1, 0.02):
        wanted = linear.Lasso(alpha=strength, fit_intercept=False, tol=1e-12, max_iter=100_000)
        wanted.fit(z.numpy(), y.numpy())
        found, settled = lasso(z.T @ z / 80, z.T @ y / 80, strength)
        assert settled
        torch.testing.assert_close(found, torch.from_numpy(wanted.coef_.T), rtol=0, atol=1e-4)


def test_without_a_penalty_it_is_least_squares():
    generator = torch.Generator().manual_seed(2)
    z, y = (torch.randn(50, size, generator=generator, dtype=torch.float64) for size in (4, 2))
    found, _ = lasso(z.T @ z / 50, z.T @ y / 50, 0.0)
    torch.testing.assert_close(found, torch.linalg.lstsq(z, y).solution, rtol=0, atol=1e-5)


def test_from_the_largest_correlation_on_nothing_is_used():
    a, b = (standard(each) for each in _planted())
    (none,) = sparse_prediction(a, b, [1.0])
    assert none.used == 0
    assert none.error == 1.0


def test_planted_sums_are_found_with_two_units_each():
    a, b = (standard(each) for each in _planted())
    path = sparse_prediction(a, b, [0.01, 0.3, 0.1])
    assert [each.strength for each in path] == [0.3, 0.1, 0.01]
    assert [round(each.used) for each in path] == [2, 2, 2]
    assert path[0].error > path[1].error > path[2].error
    assert path[2].error < 1e-3
    assert all(each.settled for each in path)


def test_unrelated_units_are_fitted_but_not_predicted():
    """The reason for samples that are held back."""
    generator = torch.Generator().manual_seed(0)
    a, b = (standard(torch.randn(60, 40, generator=generator)) for _ in range(2))
    (found,) = sparse_prediction(a, b, [0.02])
    assert found.fitted < 0.4
    assert found.error > 1.0


def test_a_unit_that_is_flat_on_the_fitted_samples_is_not_used():
    values = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:, 1] = 0
    weights, settled = lasso(values.T @ values / 100, values.T @ values[:, :1] / 100, 0.1)
    assert settled
    assert weights.flatten()[1] == 0
    assert weights.flatten()[0] > 0.5


def test_units_that_repeat_each_other_settle_too():
    """The same unit ten times: any split of the weight is a minimum, its sum is 1 - strength."""
    z = standard(torch.randn(60, 1, generator=torch.Generator().manual_seed(0))).values
    many = z.expand(60, 10)
    weights, settled = lasso(many.T @ many / 60, many.T @ z / 60, 0.2)
    assert settled
    assert float(weights.sum()) == pytest.approx(0.8, abs=1e-4)


def test_cuts_that_leave_nothing_are_refused():
    a, b = (standard(each) for each in _planted())
    for options in ({"held": 0.0}, {"held": 1.0}, {"strengths": [-1.0]}, {"strengths": []}):
        with pytest.raises(RecipeError, match="samples to fit on"):
            sparse_prediction(a, b, **options)
