from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError
from ligate.methods.merge.iso_c import iso_c

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def by_definition(tau, flatten=1.0):
    u, s, v = np.linalg.svd(tau.sum(0).numpy(), full_matrices=False)
    return u * ((1 - flatten) * s + flatten * s.mean()) @ v


def test_three_and_one_are_two_and_two():
    tuned = torch.stack([torch.diag(torch.tensor([3.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))])
    torch.testing.assert_close(iso_c(torch.zeros(2, 2), tuned), 2 * torch.eye(2))


@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (9, 9), (1, 6), (6, 1)])
@pytest.mark.parametrize("flatten", [1.0, 0.25, 0.0])
def test_as_the_equation_says(shape, flatten):
    base, tau = drawn(*shape), drawn(3, *shape, seed=1)
    merged = iso_c(base, base + tau, flatten=flatten, scale=0.7)
    np.testing.assert_allclose(merged, base.numpy() + 0.7 * by_definition(tau, flatten), rtol=1e-9, atol=1e-11)


def test_the_mean_of_the_task_vectors_instead_of_their_sum():
    base, tau = drawn(6, 9), drawn(4, 6, 9, seed=1)
    torch.testing.assert_close(iso_c(base, base + tau, normalize=True), iso_c(base, base + tau, scale=0.25))


def test_what_is_no_direction_of_the_sum_stays_none():
    tau = torch.zeros(1, 4, 6, dtype=DOUBLE)
    tau[0, 0, 0], tau[0, 1, 1] = 6, 2
    expected = torch.zeros(4, 6, dtype=DOUBLE)
    expected[0, 0] = expected[1, 1] = 2  # (6 + 2 + 0 + 0) / 4
    torch.testing.assert_close(iso_c(torch.zeros(4, 6, dtype=DOUBLE), tau), expected)
    expected[1, 1] = 0
    torch.testing.assert_close(iso_c(torch.zeros(4, 6, dtype=DOUBLE), tau, floor=0.5), expected)


def test_vectors_and_kernels_are_averaged_and_kernels_may_be_folded():
    base, tau = drawn(4, 3, 2), drawn(2, 4, 3, 2, seed=1)
    torch.testing.assert_close(iso_c(base, base + tau), base + tau.mean(0))
    torch.testing.assert_close(iso_c(base[0, 0], (base + tau)[:, 0, 0], scale=2), (base + 2 * tau.mean(0))[0, 0])
    folded = iso_c(base, base + tau, kernels="fold")
    torch.testing.assert_close(folded, iso_c(base.view(4, 6), (base + tau).view(2, 4, 6)).view(4, 3, 2))


def test_opposite_models_leave_the_base():
    base, tau = drawn(5, 7), drawn(1, 5, 7, seed=1)
    merged = iso_c(torch.zeros_like(base), torch.cat([tau, -tau]))
    assert torch.equal(merged, torch.zeros_like(base))


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    with pytest.raises(InputError, match="base is"):
        iso_c(torch.zeros(2, 3), torch.zeros(2, 3, 2))
    with pytest.raises(NonFiniteError):
        iso_c(torch.zeros(2, 2), torch.full((2, 2, 2), torch.inf))
