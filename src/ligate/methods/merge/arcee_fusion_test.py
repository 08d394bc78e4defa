from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.arcee_fusion import arcee_fusion
from ligate.ops import order


def by_definition(base, tuned, fence=1.5):
    """Whole matrices in float64, with sorted importances."""

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True) + 1e-8

    p, q = softmax(tuned), softmax(base)
    importance = np.abs(tuned - base) * (p * np.log(p / q)).sum(-1, keepdims=True)
    ranked = np.sort(importance, axis=None)
    first, median, third = (ranked[int(share * (ranked.size - 1))] for share in (0.25, 0.5, 0.75))
    return np.where(importance >= median + fence * (third - first), tuned, base)


@pytest.mark.parametrize("shape", [(50,), (20, 30), (4, 5, 6), (1, 7), (7, 1)])
@pytest.mark.parametrize("fence", [1.5, 0.0])
def test_as_the_equation_says(shape, fence):
    draw = np.random.default_rng(0)
    base = draw.standard_normal(shape)
    tuned = base + draw.standard_normal(shape) ** 3 * 0.1
    merged = arcee_fusion(torch.from_numpy(base), torch.from_numpy(tuned)[None], fence=fence).numpy()
    np.testing.assert_allclose(merged, by_definition(base, tuned, fence), rtol=0, atol=1e-14)
    assert fence or shape == (7, 1) or 0.3 < (merged != base).mean() < 0.7


def test_a_notebook_finds_the_quartiles_of_large_tensors_too(monkeypatch):
    monkeypatch.setattr(order, "SAMPLE", 64)
    draw = np.random.default_rng(0)
    base = draw.standard_normal((40, 50))
    tuned = base + draw.standard_normal((40, 50)) * draw.uniform(0.001, 1, (40, 1))
    merged = arcee_fusion(torch.from_numpy(base), torch.from_numpy(tuned)[None]).numpy()
    np.testing.assert_allclose(merged, by_definition(base, tuned), rtol=0, atol=1e-14)


def test_what_is_like_the_base_changes_nothing():
    base = torch.rand(4, 5)
    assert torch.equal(arcee_fusion(base, base[None]), base)
    assert torch.equal(arcee_fusion(torch.tensor(1.0), torch.tensor([2.0])), torch.tensor(2.0))


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="not 2"):
        arcee_fusion(torch.zeros(2), torch.zeros(2, 2))
    with pytest.raises(InputError, match="there is no base"):
        arcee_fusion(None, torch.zeros(1, 2))
