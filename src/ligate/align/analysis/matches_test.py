from __future__ import annotations

import itertools
import math

import torch

from ligate.align.analysis.correlation import correlations, standard
from ligate.align.analysis.matches import one_to_one, semi_matching

HALF = math.sqrt(0.5)
WORKED = torch.tensor([[0.0, HALF], [1.0, HALF]], dtype=torch.float64)


def test_worked_by_hand():
    for found in (semi_matching(WORKED), one_to_one(WORKED)):
        assert found.first.tolist() == [1, 0]
        assert found.second.tolist() == [0, 1]
        assert found.values.tolist() == [1.0, HALF]
        assert math.isclose(found.mean, 1.7071067811865475 / 2)


def test_several_units_may_want_the_same_one_but_only_one_gets_it():
    between = torch.tensor([[0.9, 0.2], [0.8, 0.1]])
    assert semi_matching(between).second.tolist() == [0, 0]
    found = one_to_one(between)
    assert {tuple(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)} == {(0, 1), (1, 0)}


def test_one_to_one_is_the_best_of_all_permutations():
    between = torch.rand(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
    best = max(sum(float(between[i, p[i]]) for i in range(5)) for p in itertools.permutations(range(5)))
    assert math.isclose(float(one_to_one(between).values.sum()), best)


def test_of_a_wider_network_units_are_left_out():
    between = torch.tensor([[0.1, 0.9, 0.3], [0.8, 0.85, 0.2]])
    for found in (one_to_one(between), one_to_one(between.T)):
        assert sorted(found.values.tolist(), reverse=True) == found.values.tolist()
        assert len(found.values) == 2
    tall = one_to_one(between.T)
    assert (tall.first.tolist(), tall.second.tolist()) == ([1, 0], [0, 1])


def test_a_permuted_network_is_found_again():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200, 16, generator=generator)
    order = torch.randperm(16, generator=generator)
    found = one_to_one(correlations(standard(a), standard(a[:, order])).between)
    assert torch.equal(order[found.second], found.first)
    assert math.isclose(found.mean, 1.0)


def test_nothing_to_match():
    for found in (semi_matching(torch.zeros(0, 3)), semi_matching(torch.zeros(3, 0)), one_to_one(torch.zeros(0, 3))):
        assert len(found.values) == 0
        assert found.mean == 0.0
