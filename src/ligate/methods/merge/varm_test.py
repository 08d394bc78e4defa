from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.methods.merge.varm import varm

TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]], dtype=torch.float64)


def test_the_weights_are_shares_of_the_squared_change():
    # sums of squares 21.25, 14.25, 21.25
    expected = torch.tensor([1.625551, 1.127753, 1.995595, 0.125551], dtype=torch.float64)
    torch.testing.assert_close(varm(torch.zeros(4, dtype=torch.float64), TUNED), expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize(("measure", "power"), [("square", 2), ("magnitude", 1)])
def test_as_the_equation_says(measure, power):
    base = torch.linspace(-1, 1, 4, dtype=torch.float64)
    sizes = np.abs(TUNED.numpy()) ** power
    weights = sizes.mean(1) / sizes.mean(1).sum()
    merged = varm(base, base + TUNED, measure=measure, scale=0.5)
    np.testing.assert_allclose(merged, base.numpy() + 0.5 * weights @ TUNED.numpy(), rtol=1e-14)


def test_a_model_that_changed_nothing_counts_for_nothing():
    base = torch.ones(4, dtype=torch.float64)
    tuned = torch.stack([base, base + TUNED[0]])
    torch.testing.assert_close(varm(base, tuned), base + TUNED[0])


def test_what_nobody_changed_stays():
    base = torch.linspace(0, 1, 5)
    assert torch.equal(varm(base, base.expand(3, 5)), base)


def test_a_missing_base_and_a_wrong_shape_are_refused():
    with pytest.raises(InputError, match="there is no base"):
        varm(None, TUNED)
    with pytest.raises(InputError, match="base is"):
        varm(torch.zeros(3), TUNED)
