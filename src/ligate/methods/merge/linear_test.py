from __future__ import annotations

import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.methods.merge.linear import linear

TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def test_the_mean_of_three():
    torch.testing.assert_close(linear(None, TUNED), torch.tensor([5 / 3, 4 / 3, 5 / 3, 1 / 6]))


def test_weights_are_divided_by_their_sum():
    torch.testing.assert_close(linear(None, TUNED, weight=(2, 1, 1)), (2 * TUNED[0] + TUNED[1] + TUNED[2]) / 4)


def test_weights_as_they_are():
    merged = linear(None, TUNED, weight=(2, 1, -1), normalize=False)
    torch.testing.assert_close(merged, 2 * TUNED[0] + TUNED[1] - TUNED[2])


@pytest.mark.parametrize("weight", [(1, -1, 0), (0.3, 0.2, -0.5), (0, 0, 0)])
def test_weights_that_sum_to_zero_are_refused_before_any_tensor_is_read(weight):
    with pytest.raises(RecipeError, match="sum to zero"):
        linear.card.check({"weight": weight, "normalize": True})
    linear.card.check({"weight": weight, "normalize": False})


def test_weights_must_be_one_per_model():
    with pytest.raises(RecipeError, match="`weight` has 2 values for 3 models"):
        linear(None, TUNED, weight=(1, 2))


def test_any_shape_and_gradients():
    tuned = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert linear(None, tuned).shape == (3, 4)
    assert torch.autograd.gradcheck(lambda x: linear(None, x, weight=(0.3, 0.7)), tuned)
