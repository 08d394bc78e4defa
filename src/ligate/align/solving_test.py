"""The best member of each kind, against planted ones and against many random ones."""

from __future__ import annotations

import pytest
import torch

from ligate.align.maps import Group, Kind
from ligate.align.members import random_member
from ligate.align.solving import best, most, worth

KINDS: tuple[Kind, ...] = ("permutation", "signed", "rotary", "centred", "orthogonal")


def member(kind: Kind, seed: int, size: int = 8) -> torch.Tensor:
    return random_member(Group("g", size, (), kind), {}, torch.Generator().manual_seed(seed), stretch=False).write


def scores(seed: int) -> torch.Tensor:
    return torch.randn(8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_no_other_member_is_worth_more(kind: Kind, seed: int):
    given = scores(seed)
    found = float(worth(given, best(given, kind)))
    assert found == pytest.approx(float(most(given, kind)) + (float(given.mean(0).sum()) if kind == "centred" else 0))
    assert all(float(worth(given, member(kind, other))) <= found + 1e-12 for other in range(200))


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_member_is_found(kind: Kind):
    b = torch.randn(8, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    move = member(kind, 5)
    a = b[move] if kind == "permutation" else move @ b
    torch.testing.assert_close(best(a @ b.T, kind), move)


def test_rotations_that_keep_the_mean_keep_it():
    ones = torch.ones(8, dtype=torch.float64)
    for move in (best(scores(1), "centred"), best(-100 * torch.ones(8, 8).double(), "centred"), member("centred", 2)):
        torch.testing.assert_close(move @ ones, ones)
        torch.testing.assert_close(move @ move.T, torch.eye(8, dtype=torch.float64))
