from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.consensus import consensus
from ligate.methods.merge.task_arithmetic import task_arithmetic

BASE = torch.zeros(4)
TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def test_masks_by_hand():
    # sums 5 4 5 .5; the rest of each: |1 5 3 0| |3 1 6 0| |6 2 1 1|. With strictness 1 the masks are 1000 0101 0111.
    def merged(agreement):
        return consensus(BASE, TUNED, strictness=1, agreement=agreement, scale=1)

    torch.testing.assert_close(merged(0), torch.tensor([5, 4, 5, 0.5]))
    torch.testing.assert_close(merged(1), torch.tensor([5, 4, 5, 0.5]))
    torch.testing.assert_close(merged(2), torch.tensor([0, 4, 0, 0.5]))
    torch.testing.assert_close(merged(3), torch.zeros(4))


@pytest.mark.parametrize("normalize", [True, False])
def test_as_the_equation_says(normalize):
    draw = np.random.default_rng(1)
    base, tuned = draw.standard_normal(80), draw.standard_normal((4, 80))
    weights, bounds = np.array([0.5, 1, 1.5, -0.2]), np.array([0.2, 0.4, 0.6, 0.8])
    tau = tuned - base
    total = weights @ tau
    votes = (np.abs(tau) >= bounds[:, None] * np.abs(total - tau)).sum(0)
    expected = base + 0.5 * total / (weights.sum() if normalize else 1) * (votes >= 2)
    merged = consensus(
        torch.from_numpy(base), torch.from_numpy(tuned), weight=tuple(weights), strictness=tuple(bounds), scale=0.5,
        normalize=normalize,
    )  # fmt: skip
    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-12)


def test_without_agreement_it_is_task_arithmetic():
    torch.testing.assert_close(consensus(BASE, TUNED, agreement=0), task_arithmetic(BASE, TUNED))


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="`agreement` is 4, but there are only 3 models"):
        consensus(BASE, TUNED, agreement=4)
    with pytest.raises(RecipeError, match="`agreement` is 4, but there are only 3 models"):
        consensus.card.check({"weight": (1.0, 1.0, 1.0), "normalize": False, "agreement": 4})
    with pytest.raises(RecipeError, match="at least 2 models"):
        consensus(BASE, TUNED[:1])
    with pytest.raises(InputError, match="there is no base"):
        consensus(None, TUNED)
