from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.nearswap import nearswap


def test_as_its_author_wrote_it():
    g = torch.Generator().manual_seed(0)
    base = torch.randn(200, dtype=torch.float64, generator=g)
    tuned = base + torch.randn(200, dtype=torch.float64, generator=g) * 0.01
    share = (0.004 / (base - tuned).abs()).clamp(0, 1)
    torch.testing.assert_close(nearswap(base, tuned[None], near=0.004), base * (1 - share) + tuned * share)


def test_equal_weights_and_no_distance_at_all():
    base, tuned = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 5.0]])
    assert torch.equal(nearswap(base, tuned, near=0), base)
    assert torch.equal(nearswap(base, tuned, near=10), tuned[0])


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="merges 1 model besides any base, not 2"):
        nearswap(torch.zeros(2), torch.zeros(2, 2))
    with pytest.raises(InputError, match="there is no base"):
        nearswap(None, torch.zeros(1, 2))
