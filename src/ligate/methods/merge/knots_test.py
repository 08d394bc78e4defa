from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError, RecipeError
from ligate.methods.merge.knots import knots
from ligate.methods.merge.ties import ties

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def by_definition(tau, density, weights):
    """With numpy's SVD, in float64."""
    u, s, v = np.linalg.svd(np.hstack(list(tau)), full_matrices=False)
    alive = s > 1e-9 * s.max()
    rows = np.stack(np.split(s[alive, None] * v[alive], len(tau), axis=1))
    for row in rows:
        kept = max(1, int(density * row.size))
        row[np.abs(row) < np.sort(np.abs(row), axis=None)[-kept]] = 0
    weights = np.asarray(weights)[:, None, None]
    agree = (np.sign(rows) == np.sign((weights * rows).sum(0))) & (rows != 0)
    total, voters = (weights * rows * agree).sum(0), (weights * agree).sum(0)
    return u[:, alive] @ (total / np.where(voters == 0, 1, voters))


def test_two_tasks_of_one_direction_have_one_coordinate_row():
    tuned = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    # U = (1, 0), coordinates [1, 0] and [0, 1]: no conflict, each entry is averaged over the one task that has it
    torch.testing.assert_close(knots(torch.zeros(2, 2), tuned, density=0.5), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (60, 7), (9, 9), (1, 6), (6, 1)])
@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("shared", ["output", "input", "smaller"])
def test_as_the_equation_says(shape, density, shared):
    base, tau = drawn(*shape), drawn(3, *shape, seed=1)
    over = shared == "input" or (shared == "smaller" and shape[0] > shape[1])
    expected = by_definition(np.swapaxes(tau, 1, 2) if over else tau.numpy(), density, (1, 0.5, 0.25))
    merged = knots(base, base + tau, density=density, weight=(1, 0.5, 0.25), scale=0.7, shared=shared)
    np.testing.assert_allclose(merged, base.numpy() + 0.7 * (expected.T if over else expected), rtol=1e-9, atol=1e-11)


def test_low_rank_tasks():
    tau = drawn(2, 20, 2) @ drawn(2, 2, 30, seed=1)
    merged = knots(torch.zeros(20, 30, dtype=DOUBLE), tau, density=0.3)
    np.testing.assert_allclose(merged, by_definition(tau.numpy(), 0.3, (1, 1)), rtol=1e-9, atol=1e-11)


def test_one_task_kept_whole_is_that_task():
    base, tau = drawn(8, 5), drawn(1, 8, 5, seed=1)
    torch.testing.assert_close(knots(base, base + tau, density=1), base + tau[0])


def test_vectors_and_kernels_are_merged_by_ties_and_kernels_may_be_folded():
    base, tau = drawn(4, 3, 2), drawn(3, 4, 3, 2, seed=1)
    torch.testing.assert_close(knots(base, base + tau), ties(base, base + tau, scope="tensor"))
    torch.testing.assert_close(
        knots(base[0, 0], (base + tau)[:, 0, 0], scale=2), ties(base[0, 0], (base + tau)[:, 0, 0], scale=2)
    )
    folded = knots(base, base + tau, kernels="fold")
    torch.testing.assert_close(folded, knots(base.view(4, 6), (base + tau).view(3, 4, 6)).view(4, 3, 2))


def test_nothing_kept_and_nothing_changed_are_the_base():
    base = drawn(5, 4)
    assert torch.equal(knots(base, base + drawn(2, 5, 4, seed=1), density=0), base)
    assert torch.equal(knots(base, base.expand(3, 5, 4)), base)


def test_wrong_shapes_wrong_counts_and_what_is_no_number_are_refused():
    with pytest.raises(InputError, match="base is"):
        knots(torch.zeros(2, 3), torch.zeros(2, 3, 2))
    with pytest.raises(RecipeError, match="`density` has 2 values for 3 models"):
        knots(torch.zeros(2, 2), torch.zeros(3, 2, 2), density=(0.1, 0.2))
    with pytest.raises(NonFiniteError):
        knots(torch.zeros(2, 2), torch.full((2, 2, 2), torch.nan))
