from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.methods.merge.magmax import magmax

TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def test_the_largest_change_of_each_weight():
    torch.testing.assert_close(magmax(torch.zeros(4), TUNED), torch.tensor([2, 1.5, 2, 0.25]))
    torch.testing.assert_close(magmax(torch.zeros(4), -TUNED, scale=1), torch.tensor([-4.0, -3, -4, 0.5]))


def test_as_the_equation_says():
    draw = np.random.default_rng(0)
    base, tuned = draw.standard_normal(60), draw.standard_normal((4, 60))
    tau = tuned - base
    chosen = np.take_along_axis(tau, np.abs(tau).argmax(0)[None], 0)[0]
    merged = magmax(torch.from_numpy(base), torch.from_numpy(tuned), scale=0.7).numpy()
    np.testing.assert_allclose(merged, base + 0.7 * chosen, rtol=1e-13)


def test_there_must_be_a_base():
    with pytest.raises(InputError, match="there is no base"):
        magmax(None, TUNED)
