from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ligate.align.analysis.correlation import correlations, standard
from ligate.core.errors import InputError, NonFiniteError


def test_correlations_are_those_of_numpy():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 4, generator=generator), torch.randn(50, 3, generator=generator)
    found = correlations(standard(a), standard(b))
    wanted = torch.from_numpy(np.corrcoef(a.double().T, b.double().T))
    torch.testing.assert_close(found.a, wanted[:4, :4], rtol=0, atol=1e-12)
    torch.testing.assert_close(found.b, wanted[4:, 4:], rtol=0, atol=1e-12)
    torch.testing.assert_close(found.between, wanted[:4, 4:], rtol=0, atol=1e-12)


def test_worked_by_hand():
    u, v = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    found = correlations(standard(torch.stack([u, v], 1)), standard(torch.stack([v, (u + v) / math.sqrt(2)], 1)))
    half = math.sqrt(0.5)
    torch.testing.assert_close(found.between, torch.tensor([[0.0, half], [1.0, half]], dtype=torch.float64))


def test_factors_and_shifts_of_units_change_nothing():
    a = torch.randn(30, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, other = standard(a), standard(a * torch.tensor([2.0, 0.1, 30, 1, 5]) + 7)
    torch.testing.assert_close(one.values, other.values)


def test_dead_units_are_left_out_and_counted():
    a = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    a[:, 1] = 0
    a[:, 3] = 0.1  # not a number of binary fractions: its mean is not exact
    found = standard(a)
    assert found.live.tolist() == [0, 2]
    assert found.dead == 2
    assert found.values.shape == (20, 2)


def test_all_units_dead():
    found = standard(torch.zeros(5, 3))
    assert found.dead == 3
    assert correlations(found, found).between.shape == (0, 0)


@pytest.mark.parametrize("shape", [(5,), (1, 4), (2, 3, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(InputError, match="flatten positions"):
        standard(torch.zeros(shape))


def test_what_is_not_finite_is_refused():
    with pytest.raises(NonFiniteError, match="layer 3"):
        standard(torch.tensor([[1.0], [math.nan]]), "layer 3")


def test_different_samples_are_refused():
    with pytest.raises(InputError, match="5 samples of one network and 6"):
        correlations(standard(torch.randn(5, 2)), standard(torch.randn(6, 2)))
