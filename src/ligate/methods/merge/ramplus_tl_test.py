from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.methods.merge.ram import ram
from ligate.methods.merge.ramplus_tl import ramplus_tl


def sparse(*shape, seed=0, share=0.4):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64) * (torch.rand(*shape, generator=g) < share)


def by_definition(tau, epsilon, boost, cap):
    seen = np.abs(tau) > epsilon
    count = seen.sum(0)
    axes = tuple(range(1, tau.ndim))
    shared, alone = (seen & (count > 1)).sum(axes), (seen & (count == 1)).sum(axes)
    rho = np.clip(shared / np.maximum(alone, 1e-5), 0, cap)
    gains = (1 + boost * rho).reshape(-1, *(1,) * (tau.ndim - 1))
    return (tau * seen * np.where(count == 1, gains, 1 / np.maximum(count, 1))).sum(0)


def test_what_is_ones_own_grows_with_what_is_shared():
    # the first shares one entry and has three of its own: 1 + 0.3 * 1/3; the second two of its own: 1 + 0.3 * 1/2
    tuned = torch.tensor([[1.0, 1, 1, 1, 0, 0], [3, 0, 0, 0, 1, 1]], dtype=torch.float64)
    merged = ramplus_tl(torch.zeros(6, dtype=torch.float64), tuned, boost=0.3, cap=1)
    torch.testing.assert_close(merged, torch.tensor([2, 1.1, 1.1, 1.1, 1.15, 1.15], dtype=torch.float64))


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_as_the_equation_says(share):
    tau = sparse(4, 9, 7, share=share)
    merged = ramplus_tl(torch.zeros(9, 7, dtype=torch.float64), tau, epsilon=0.05, boost=0.5, cap=2, scale=0.5)
    np.testing.assert_allclose(merged, 0.5 * by_definition(tau.numpy(), 0.05, 0.5, 2), rtol=1e-13)


def test_without_a_boost_it_is_ram():
    base, tau = sparse(6), sparse(3, 6, seed=1)
    assert torch.equal(ramplus_tl(base, base + tau, boost=0), ram(base, base + tau))


def test_nothing_changed_and_nothing_of_ones_own():
    base, tau = sparse(5, 3), sparse(1, 5, 3, seed=1)
    assert torch.equal(ramplus_tl(base, base.expand(3, 5, 3)), base)
    torch.testing.assert_close(ramplus_tl(base, base + tau.expand(2, 5, 3)), base + tau[0])


def test_a_missing_base_and_a_wrong_shape_are_refused():
    with pytest.raises(InputError, match="there is no base"):
        ramplus_tl(None, sparse(2, 3))
    with pytest.raises(InputError, match="base is"):
        ramplus_tl(torch.zeros(4), torch.zeros(2, 3))
