from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.linear import linear
from ligate.methods.merge.task_arithmetic import task_arithmetic

BASE = torch.tensor([1.0, 2, 3, 4])
TUNED = BASE + torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def test_three_tasks_at_three_tenths():
    torch.testing.assert_close(task_arithmetic(BASE, TUNED, scale=0.3), BASE + torch.tensor([1.5, 1.2, 1.5, 0.15]))


def test_a_negative_weight_takes_a_task_away():
    merged = task_arithmetic(BASE, TUNED, weight=(1, -1, 0), scale=1)
    torch.testing.assert_close(merged, BASE + torch.tensor([2.0, -4, 3, 0]))


def test_one_over_the_number_of_models_is_the_average():
    torch.testing.assert_close(task_arithmetic(BASE, TUNED, scale=1 / 3), linear(None, TUNED))
    torch.testing.assert_close(task_arithmetic(BASE, TUNED, scale=1, normalize=True), linear(None, TUNED))


def test_an_untouched_entry_stays_to_the_last_bit():
    base = torch.randn(1000, dtype=torch.float64)
    assert torch.equal(task_arithmetic(base, base.expand(3, -1), scale=0.7), base)


def test_wrong_shapes_and_weights_are_named():
    with pytest.raises(InputError, match=r"base is \(3,\), models are \(4,\)"):
        task_arithmetic(BASE[:3], TUNED)
    with pytest.raises(RecipeError, match="sum to zero"):
        task_arithmetic.card.check({"weight": (1, -1), "normalize": True})


def test_gradients():
    base, tuned = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(task_arithmetic, (base, tuned.requires_grad_()))
