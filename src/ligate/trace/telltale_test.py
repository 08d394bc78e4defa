from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ligate.align.maps import Group, Place, applied
from ligate.trace.heads import sides
from ligate.trace.locking import draw_of, drawn
from ligate.trace.telltale import KNOWN, chance, chance_of_pairs, signs, stretched

WIDTH, HEADS, SIZE = 128, 6, 16
PLACES = (Place("v", 0, (HEADS, SIZE), 1, over=((0, 0),)), Place("o", 1, (HEADS, SIZE), 1, "reads", ((1, 0),)))
VALUES = Group("values", SIZE, PLACES, "invertible", HEADS)
KINDS = ("invertible", "rotary")


def balanced(seed: int = 0) -> dict[str, Tensor]:
    """Both sides with one Gram matrix, whose eigenvalues are far from equal: as training leaves them."""
    draw = torch.Generator().manual_seed(seed)
    v, o = torch.zeros(HEADS * SIZE, WIDTH).double(), torch.zeros(WIDTH, HEADS * SIZE).double()
    for head in range(HEADS):
        rows = slice(head * SIZE, (head + 1) * SIZE)
        root = torch.randn(SIZE, SIZE, generator=draw).double() * torch.logspace(0, -1, SIZE).double()
        left, right = (torch.linalg.qr(torch.randn(WIDTH, SIZE, generator=draw).double()).Q for _ in range(2))
        v[rows], o[:, rows] = root @ left.T, 3 * right @ root.T
    return {"v": v, "o": o}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_stretches_heads_that_training_balanced(kind):
    group, state = VALUES._replace(kind=kind), balanced()
    (before,) = signs(state, [group])
    (after,) = signs(applied(state, drawn([group], state, draw_of(0))), [group])
    assert before.verdict == "ordinary" and before.stretch == pytest.approx(0, abs=1e-6)
    assert after.verdict == "locked" and after.heads == HEADS and after.beyond > 0.8
    assert 0.5 < after.sure < 1


def test_the_stretch_of_balanced_heads_is_that_of_the_matrix():
    """P = Q = 1: log eigenvalues of Q^-1 P are 4 log s for the singular values s of M."""
    eye = torch.eye(SIZE, WIDTH).double().repeat(HEADS, 1)
    state = {"v": eye, "o": eye.T.contiguous()}
    (lock,) = drawn([VALUES], state, draw_of(1))
    found = stretched(sides(applied(state, [lock]), VALUES))
    by_hand = (4 * torch.linalg.svdvals(lock.write).log()).std(1).square() - chance(SIZE, WIDTH, WIDTH) ** 2
    torch.testing.assert_close(found, by_hand.clamp_min(0).sqrt())


def test_turning_leaves_no_signs():
    state = balanced()
    turned = applied(state, drawn([VALUES._replace(kind="orthogonal")], state, draw_of(0)))
    torch.testing.assert_close(stretched(sides(turned, VALUES)), stretched(sides(state, VALUES)), atol=1e-5, rtol=0)
    assert signs(state, [VALUES._replace(kind="orthogonal")]) == ()


def test_gaussian_sides_show_what_chance_says():
    draw = torch.Generator().manual_seed(5)
    state = {
        "v": torch.randn(HEADS * SIZE, WIDTH, generator=draw),
        "o": torch.randn(WIDTH, HEADS * SIZE, generator=draw),
    }
    for kind in KINDS:
        (told,) = signs(state, [VALUES._replace(kind=kind)])
        assert told.verdict == "ordinary" and told.stretch is not None and told.stretch < 0.25
    rows = torch.randn(4000, 2, 40, generator=draw).double().square().sum((1, 2)).log()
    assert float(rows.std()) == pytest.approx((1 / 40) ** 0.5, rel=0.05)  # of a sum of 2 n squares
    assert chance_of_pairs(16, 40, 40) == pytest.approx((2 / 40) ** 0.5)


def test_heads_that_say_nothing_are_not_judged():
    nothing = {name: torch.zeros_like(value) for name, value in balanced().items()}
    narrow = {"v": torch.randn(HEADS * SIZE, 8), "o": torch.randn(8, HEADS * SIZE)}  # fewer numbers than units
    for state in (nothing, narrow):
        (told,) = signs(state, [VALUES])
        assert told.verdict == "no telling" and told.stretch is None and told.sure == 0
    partly = balanced()
    partly["v"][:SIZE] = 0
    (told,) = signs(partly, [VALUES])
    assert told.heads == HEADS - 1


def test_what_is_known_leaves_a_gap():
    assert all(known.most < known.least for known in KNOWN.values())
