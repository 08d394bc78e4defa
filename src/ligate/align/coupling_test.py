from __future__ import annotations

import itertools
import sys

import pytest
import torch

from ligate.align import coupling
from ligate.align.coupling import coupled, distances, masses, order, undivided
from ligate.core.errors import InputError

pytest.importorskip("ot")


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def even(count: int) -> torch.Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


def test_the_worked_example_of_three_units_and_two():
    """Rows (1,0), (0,1), (1,1) against the two axes: the third unit is as far from both and is halved."""
    b, a = torch.tensor([[1.0, 0], [0, 1], [1, 1]]).double(), torch.eye(2).double()
    cost = distances(b, a, "euclidean")
    torch.testing.assert_close(cost, torch.tensor([[0, 2**0.5], [2**0.5, 0], [1, 1]]).double())
    found = coupled(cost, even(3), even(2), "exact", 0)
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 0], [0, 1 / 3], [1 / 6, 1 / 6]]).double())


def test_distances_of_every_kind():
    b, a = drawn(0, 3, 5), drawn(1, 4, 5)
    torch.testing.assert_close(distances(b, a, "euclidean"), torch.cdist(b, a))
    torch.testing.assert_close(distances(b, a, "squared"), torch.cdist(b, a).square())
    expected = 1 - torch.corrcoef(torch.cat([b, a]))[:3, 3:]
    torch.testing.assert_close(distances(b, a, "correlation"), expected)
    assert distances(torch.ones(1, 5).double(), a, "correlation").tolist() == [[1.0] * 4]  # constant: says nothing


@pytest.mark.parametrize("seed", range(3))
def test_between_equal_masses_the_exact_coupling_is_the_best_permutation(seed):
    cost = drawn(seed, 6, 6).square()
    best = min(itertools.permutations(range(6)), key=lambda p: sum(float(cost[p[j], j]) for j in range(6)))
    assert order(coupled(cost, even(6), even(6), "exact", 0)).tolist() == list(best)
    assert order(undivided(cost)).tolist() == list(best)


def test_sinkhorn_has_the_marginals_and_the_form_of_its_solution():
    cost, mass = drawn(0, 5, 3).square(), masses(drawn(1, 5, 4), "importance")
    found = coupled(cost, mass, even(3), "sinkhorn", 0.1)
    torch.testing.assert_close(found.sum(1), mass, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.sum(0), even(3), rtol=1e-3, atol=0)
    # log T + C / reg is a sum of a number per row and one per column: its double differences are nothing.
    potentials = found.log() + cost / cost.max() / 0.1
    double = potentials[1:, 1:] - potentials[:-1, 1:] - potentials[1:, :-1] + potentials[:-1, :-1]
    assert float(double.abs().max()) < 1e-9
    assert order(found) is None


def test_a_large_entropy_couples_all_with_all_and_a_small_one_comes_close_to_the_exact():
    cost = drawn(0, 5, 5).square()
    given = (cost, even(5), even(5))
    torch.testing.assert_close(coupled(*given, "sinkhorn", 1e4), torch.full((5, 5), 0.04).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(coupled(*given, "sinkhorn", 1e-2), coupled(*given, "exact", 0), rtol=0, atol=3e-2)


def test_sinkhorn_that_does_not_converge_is_told(monkeypatch):
    monkeypatch.setattr(coupling, "_ROUNDS", 1)
    with pytest.raises(InputError, match=r"still .* off after 1 rounds"):
        coupled(drawn(0, 7, 5).square(), even(7), even(5), "sinkhorn", 1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_undivided_is_the_cheapest_of_all_ways_to_share_out_evenly(seed):
    cost = drawn(seed, 3, 5).square()
    ways = [w for w in itertools.product(range(3), repeat=5) if sorted(map(w.count, range(3))) == [1, 2, 2]]
    best = min(ways, key=lambda w: sum(float(cost[w[j], j]) for j in range(5)))
    assert undivided(cost).argmax(0).tolist() == list(best)
    assert undivided(cost.T).argmax(1).tolist() == list(best)
    torch.testing.assert_close(undivided(cost).sum(0), even(5))


def test_units_that_are_all_zero_have_a_mass_still():
    found = masses(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), "importance")
    assert 0 < found[0] < 1e-3 and float(found.sum()) == pytest.approx(1)
    assert masses(torch.zeros(2, 3), "importance").tolist() == [0.5, 0.5]


def test_what_is_no_permutation_has_no_order():
    assert order(torch.tensor([[0.5, 0.0], [0.5, 0.0], [0.0, 1.0]])) is None
    assert order(torch.tensor([[0.25, 0.25], [0.0, 0.5]])) is None
    assert order(torch.eye(3)[[2, 0, 1]] / 3).tolist() == [1, 2, 0]
    assert order(torch.stack([torch.eye(2), torch.eye(2)[[1, 0]]])).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(("library", "solver"), [("ot", "exact"), ("ot", "sinkhorn"), ("scipy.optimize", "undivided")])
def test_a_missing_library_is_told_with_the_extra_that_has_it(library, solver, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=r"not installed here\n.*ligate\[align\]"):
        coupled(drawn(0, 2, 2).square(), even(2), even(2), solver, 0.1)
