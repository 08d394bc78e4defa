from __future__ import annotations

import pytest
import torch

from ligate.learn.row_coefficients import RowCoefficients


def test_a_row_takes_its_own_share_of_each_expert_by_hand():
    by = RowCoefficients(start_at=0.3, most=1.5)
    numbers = {"w": torch.tensor([[0.0, 30.0], [-30.0, 0.0]])}  # 0.75 and 1.5 of the first, none and 0.75 of the second
    deltas = torch.tensor([[[1.0, 2.0], [1.0, 0.0]], [[4.0, 4.0], [0.0, 2.0]]])
    merged = by.merged("w", torch.ones(2, 2), deltas, numbers)
    torch.testing.assert_close(merged, torch.tensor([[1.75, 2.5], [2.5, 2.5]]))
    assert by.shares(numbers).tolist() == pytest.approx([0.75, 0.25])


def test_learning_begins_at_one_coefficient_for_all_and_a_number_without_axes_is_a_row():
    by = RowCoefficients(start_at=0.3)
    numbers = by.start({"w": (5, 2), "scale": ()}, 3)
    assert numbers["w"].shape == (3, 5) and numbers["scale"].shape == (3,)
    merged = by.merged("scale", torch.tensor(1.0), torch.tensor([1.0, 2.0, 3.0]), numbers)
    assert float(merged) == pytest.approx(1 + 0.3 * 6)
