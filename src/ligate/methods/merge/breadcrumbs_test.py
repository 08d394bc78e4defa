from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.breadcrumbs import breadcrumbs
from ligate.methods.merge.task_arithmetic import task_arithmetic
from ligate.ops import order

TEN = torch.tensor([1.0, -2, 3, -4, 5, -6, 7, -8, 9, -10])


def middle(tau, density, gamma):
    """Sorted, cut at both ends; no magnitude occurs twice."""
    keep, cut = int(density * tau.size), int(gamma * tau.size)
    ranked = np.argsort(-np.abs(tau))[cut : cut + keep]
    kept = np.zeros_like(tau)
    kept[ranked] = tau[ranked]
    return kept


@pytest.mark.parametrize("sample", [1 << 16, 64])
@pytest.mark.parametrize("rescale", ["none", "l1"])
def test_as_the_equation_says(sample, rescale, monkeypatch):
    monkeypatch.setattr(order, "SAMPLE", sample)
    draw = np.random.default_rng(0)
    base, tau = draw.standard_normal(1000), draw.standard_normal((3, 1000))
    density, gamma, weights = (0.1, 0.5, 0.9), (0.01, 0.2, 0.0), (1.0, -0.5, 0.3)
    kept = [middle(*given) for given in zip((base + tau) - base, density, gamma, strict=True)]
    if rescale == "l1":
        kept = [k * np.abs(t).sum() / np.abs(k).sum() for k, t in zip(kept, tau, strict=True)]
    expected = base + 0.3 * sum(w * k for w, k in zip(weights, kept, strict=True))
    merged = breadcrumbs(
        torch.from_numpy(base), torch.from_numpy(base + tau), density=density, gamma=gamma, weight=weights,
        rescale=rescale,
    )  # fmt: skip
    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_small_tensors_have_no_outliers():
    merged = breadcrumbs(torch.zeros(10), TEN[None], density=0.7, gamma=0.01, scale=1)
    assert torch.equal(merged, TEN * (TEN.abs() >= 4))


def test_entries_as_large_as_a_bound_stay():
    tuned = torch.tensor([[5.0, -5, 1, 1, -1, 0.5]])
    merged = breadcrumbs(torch.zeros(6), tuned, density=0.34, gamma=0.17, scale=1)  # two kept below the first
    assert merged.tolist() == [5, -5, 0, 0, 0, 0]


def test_density_one_cuts_nothing_and_zero_everything():
    base, tuned = torch.ones(10), 1 + TEN[None]
    torch.testing.assert_close(breadcrumbs(base, tuned, density=1, gamma=0.5), task_arithmetic(base, tuned))
    assert torch.equal(breadcrumbs(base, tuned, density=0), base)
    assert torch.equal(breadcrumbs(base, tuned, density=0, gamma=1), base)


def test_outliers_are_cut_only_as_far_as_the_density_leaves_room():
    merged = breadcrumbs(torch.zeros(10), TEN[None], density=0.8, gamma=0.5, scale=1)
    assert torch.equal(merged, TEN * (TEN.abs() <= 8))
    merged = breadcrumbs(torch.zeros(10), TEN[None], density=0.75, gamma=0.5, scale=1)
    assert torch.equal(merged, TEN * (TEN.abs() <= 7))  # 7.5 rounded down


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="sum to zero"):
        breadcrumbs(torch.zeros(10), TEN.expand(2, 10), weight=(1, -1), normalize=True)
    with pytest.raises(InputError, match="there is no base"):
        breadcrumbs(None, TEN[None])
