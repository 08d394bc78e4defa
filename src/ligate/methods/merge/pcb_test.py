from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.pcb import pcb

DOUBLE = torch.float64
TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def norm(x):
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    return (x - low) / (high - low)


def clamp(x, low, high):
    d, ranked = x.shape[1], np.sort(x, axis=1)
    return np.clip(x, ranked[:, [int(d * low)]], ranked[:, [int(d * (1 - high) - 1)]])


def by_definition(tau, density, outliers, weights):
    """The official procedure on flat task vectors [K, d], in float64."""
    sizes = clamp(np.abs(tau), outliers, outliers)
    scores = np.exp(len(tau) * norm(sizes) ** 2) * np.tanh(tau * tau.sum(0))
    scale = norm(clamp(scores, 1 - density, 0))
    total = (np.sign(tau) * sizes * scale * np.asarray(weights)[:, None]).sum(0)
    return total / np.maximum(scale.sum(0), 1e-12)


def test_each_task_wins_where_it_is_strong_and_agrees():
    # scales are the unit vectors of the entries 0, 1 and 2
    torch.testing.assert_close(pcb(torch.zeros(4), TUNED, density=0.5, outliers=0), torch.tensor([4.0, 3, 4, 0]))
    # of four entries the quantile 0.9999 is the second largest: magnitudes above 2 are clipped
    torch.testing.assert_close(pcb(torch.zeros(4), TUNED, density=0.5), torch.tensor([2.0, 2, 2, 0]))


@pytest.mark.parametrize("density", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("outliers", [0.0, 1e-4, 0.05])
def test_as_the_official_procedure(density, outliers):
    base, tau = drawn(8, 25), drawn(3, 8, 25, seed=1)
    weights = (1.2, 0.8, 1.0)
    merged = pcb(base, base + tau, density=density, outliers=outliers, weight=weights, scale=0.5)
    expected = by_definition((base + tau - base).numpy().reshape(3, -1), density, outliers, weights)
    np.testing.assert_allclose((merged - base).reshape(-1), 0.5 * expected, rtol=1e-9, atol=1e-12)


def test_all_that_agrees_is_kept_with_density_one_and_nothing_with_zero():
    base, tau = drawn(6), drawn(1, 6, seed=1)
    torch.testing.assert_close(pcb(base, base + tau.expand(3, 6), density=1, outliers=0), base + tau[0])
    assert torch.equal(pcb(base, base + tau, density=0), base)


def test_entries_of_one_size_are_all_the_best():
    torch.testing.assert_close(pcb(torch.zeros(3), torch.ones(2, 3)), torch.ones(3))


def test_unchanged_models_and_opposite_models_stay():
    base, tau = drawn(4, 3), drawn(1, 4, 3, seed=1)
    assert torch.equal(pcb(base, base.expand(3, 4, 3)), base)
    assert torch.equal(pcb(torch.zeros(4, 3, dtype=DOUBLE), torch.cat([tau, -tau])), torch.zeros(4, 3, dtype=DOUBLE))


def test_a_missing_base_wrong_shapes_and_counts_are_refused():
    with pytest.raises(InputError, match="there is no base"):
        pcb(None, TUNED)
    with pytest.raises(InputError, match="base is"):
        pcb(torch.zeros(3), TUNED)
    with pytest.raises(RecipeError, match="`weight` has 2 values for 3 models"):
        pcb(torch.zeros(4), TUNED, weight=(1.0, 2.0))
