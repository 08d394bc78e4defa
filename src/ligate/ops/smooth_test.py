from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ligate.ops.smooth import exp, tanh

POINTS = torch.cat([torch.linspace(-30, 30, 100_001), torch.linspace(-0.2, 0.2, 10_001)]).double()


@pytest.mark.parametrize(("ours", "theirs"), [(exp, np.exp), (tanh, np.tanh)])
def test_right_to_the_last_places(ours, theirs):
    np.testing.assert_allclose(ours(POINTS).numpy(), theirs(POINTS.numpy()), rtol=4 * np.finfo(float).eps, atol=0)


def test_at_the_ends_and_at_zero():
    ends = torch.tensor([-1e300, -0.0, 0.0, 1e-300, 1e300], dtype=torch.float64)
    assert tanh(ends).tolist() == [-1.0, 0.0, 0.0, 1e-300, 1.0]
    assert exp(torch.zeros(1).double()).item() == 1
    assert exp(torch.tensor([700.0]).double()).item() == pytest.approx(math.exp(700), rel=1e-13)
