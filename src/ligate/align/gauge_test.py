from __future__ import annotations

import pytest
import torch

from ligate.align.gauge import balance
from ligate.align.maps import AxisMap, Group, Place, applied
from ligate.align.members import random_member

WRITTEN = Place("v", 0, (2, 4), 1, over=((0, 0),))
READ = Place("o", 1, (2, 4), 1, "reads", ((1, 0),))
VALUES = Group("values", 4, (WRITTEN, READ), "invertible", 2)


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"v": torch.randn(8, 9, generator=draw).double(), "o": 3 * torch.randn(7, 8, generator=draw).double()}


def balanced(state: dict[str, torch.Tensor], group: Group) -> dict[str, torch.Tensor]:
    m = balance(state, group)
    return applied(state, [AxisMap(group, m, torch.linalg.inv(m).mT)])


def test_both_sides_have_one_gram_matrix_and_the_function_stays():
    state = weights()
    told = balanced(state, VALUES)
    for head in range(2):
        v, o = told["v"][4 * head : 4 * head + 4], told["o"][:, 4 * head : 4 * head + 4]
        torch.testing.assert_close(v @ v.T, o.T @ o)
    torch.testing.assert_close(told["o"] @ told["v"], state["o"] @ state["v"])


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_multiplied_before_is_gone_up_to_a_rotation(seed: int):
    state = weights()
    moved = applied(state, [random_member(VALUES, state, torch.Generator().manual_seed(seed))])
    one, other = balanced(state, VALUES), balanced(moved, VALUES)
    for head in (slice(0, 4), slice(4, 8)):
        singular = [torch.linalg.svdvals(each["v"][head]) for each in (one, other, moved)]
        torch.testing.assert_close(singular[0], singular[1])
        assert not torch.allclose(singular[0], singular[2])


def test_pairs_under_rotary_embeddings_have_one_factor_each():
    group = VALUES._replace(kind="rotary")
    m = balance(weights(), group)
    assert m[0].count_nonzero() == 4 and m[0, 0, 0] == m[0, 2, 2]
    told = balanced(weights(), group)
    rows, columns = told["v"][[1, 3]].square().sum(), told["o"][:, [1, 3]].square().sum()
    torch.testing.assert_close(rows, columns)


def test_a_side_that_says_nothing_is_left_as_it_is():
    state = weights() | {"o": torch.zeros(7, 8, dtype=torch.float64)}
    assert balance(state, VALUES).equal(torch.eye(4, dtype=torch.float64).repeat(2, 1, 1))
