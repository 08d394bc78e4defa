from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.methods.merge.ram import ram


def sparse(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64) * (torch.rand(*shape, generator=g) < 0.4)


def test_each_entry_is_averaged_over_those_who_changed_it():
    tuned = torch.tensor([[4.0, -1.0, 0.0, 5e-6], [2.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.5, 0.0]])
    torch.testing.assert_close(ram(torch.zeros(4), tuned), torch.tensor([3.0, 1.0, 0.5, 0.0]))
    torch.testing.assert_close(ram(torch.zeros(4), tuned, epsilon=0, scale=2), torch.tensor([6.0, 2.0, 1.0, 1e-5]))


def test_as_the_equation_says():
    base, tau = torch.zeros(9, 7, dtype=torch.float64), sparse(4, 9, 7)
    seen = np.abs(tau.numpy()) > 0.1
    expected = (tau.numpy() * seen).sum(0) / np.maximum(seen.sum(0), 1)
    np.testing.assert_allclose(ram(base, tau, epsilon=0.1), expected, rtol=1e-14)


def test_models_that_are_the_base_and_a_single_model():
    base, tau = sparse(5, 3), sparse(1, 5, 3, seed=1)
    assert torch.equal(ram(base, base.expand(3, 5, 3)), base)
    torch.testing.assert_close(ram(base, base + tau), base + tau[0])


def test_a_missing_base_and_a_wrong_shape_are_refused():
    with pytest.raises(InputError, match="there is no base"):
        ram(None, sparse(2, 3))
    with pytest.raises(InputError, match="base is"):
        ram(torch.zeros(4), torch.zeros(2, 3))
