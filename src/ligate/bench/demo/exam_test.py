from __future__ import annotations

import math

import pytest
import torch

from ligate.bench.demo.exam import Difference, accuracy, paired


def test_accuracy_is_told_per_task():
    right = torch.tensor([[True, False], [True, True], [False, False], [True, False]])
    assert accuracy(right) == (0.75, 0.25)


def test_the_standard_error_is_that_of_paired_differences_worked_by_hand():
    # Differences per text 1, 0, 0, -1, each text in a file of its own: mean 0, variance of the mean 2/4**2 * 4/3.
    one = torch.tensor([[True], [True], [False], [False]])
    other = torch.tensor([[False], [True], [False], [True]])
    difference = paired(one, other, torch.arange(4))
    assert difference.points == 0
    assert difference.error == pytest.approx(100 * math.sqrt(2 / 16 * 4 / 3))


def test_texts_of_one_file_count_as_one_draw():
    one, other = torch.tensor([[True]] * 4 + [[False]] * 4), torch.tensor([[False]] * 4 + [[True]] * 4)
    apart = paired(one, other, torch.arange(8))
    together = paired(one, other, torch.tensor([0] * 4 + [1] * 4))
    assert together.error > 1.9 * apart.error


def test_pairing_removes_what_both_models_share():
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(400, 1, generator=generator) < 0.5
    better = hard | (torch.rand(400, 1, generator=generator) < 0.1)
    difference = paired(better, hard, torch.arange(400))
    alone = 100 * math.sqrt(0.25 / 400)
    assert difference.resolved
    assert difference.error < 0.5 * math.sqrt(2) * alone


@pytest.mark.parametrize(
    ("difference", "resolved"),
    [(Difference(2.0, 1.0), True), (Difference(-2.0, 1.0), True), (Difference(1.9, 1.0), False)],
)
def test_less_than_two_standard_errors_is_not_resolved(difference: Difference, resolved: bool):
    assert difference.resolved is resolved


def test_a_model_does_not_differ_from_itself():
    right = torch.tensor([[True], [False]])
    assert not paired(right, right, torch.arange(2)).resolved
