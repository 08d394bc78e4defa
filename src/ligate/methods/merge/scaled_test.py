from __future__ import annotations

import torch

from ligate.methods.merge.scaled import scaled
from ligate.methods.merge.task_arithmetic import task_arithmetic


def test_factors_count_number_by_number():
    base, tuned = torch.tensor([1.0, 1.0]), torch.tensor([[3.0, 5.0], [0.0, 2.0]])
    found = scaled(base, tuned, factor=torch.tensor([[0.5, 0.0], [2.0, -1.0]]), weight=[1.0, 3.0])
    assert found.tolist() == [1 + 0.5 * 2 + 3 * 2 * -1, 1 + 0 + 3 * -1 * 1]


def test_without_factors_it_is_task_arithmetic():
    draw = torch.Generator().manual_seed(0)
    base, tuned = torch.randn(3, 4, generator=draw).double(), torch.randn(2, 3, 4, generator=draw).double()
    torch.testing.assert_close(scaled(base, tuned, weight=0.3), task_arithmetic(base, tuned, scale=0.3))


def test_a_factor_of_one_number_per_part_is_the_sum_of_its_parts():
    base, tuned = torch.zeros(4), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert (
        scaled(base, tuned, factor=torch.tensor([[0.1, 0.1, 0.2, 0.2]])).tolist()
        == torch.tensor([0.1, 0.2, 0.6, 0.8]).tolist()
    )
