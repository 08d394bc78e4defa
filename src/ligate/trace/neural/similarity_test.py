from __future__ import annotations

import pytest
import torch

from ligate.align.analysis.indices import linear_cka, paired
from ligate.core.errors import RecipeError
from ligate.trace.neural.similarity import SIMILARITIES, cka, cosine, l1, l2, similarity

X = torch.tensor([[0.0, 3.0], [4.0, 0.0]])
Y = torch.tensor([[4.0, 3.0], [4.0, 0.0]])


def test_distances_worked_by_hand():
    assert float(l2(X, Y)) == -4.0  # 16 of four numbers
    assert float(l1(X, Y)) == -1.0
    assert float(cosine(X, Y)) == pytest.approx((3 / 5 + 1) / 2)


def test_cka_worked_by_hand():
    one, other = torch.tensor([[0.0], [0.0], [3.0]]), torch.tensor([[0.0, 3.0], [0.0, 0.0], [0.0, 0.0]])
    # centred (-1, -1, 2) and (2, -1, -1): the product is -3, squares are 6 and 6
    assert float(cka(one, other)) == pytest.approx(9 / 36)


def test_cka_is_that_of_the_analysis():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(9, 4, generator=draw), torch.randn(9, 6, generator=draw)
    assert float(cka(x, y)) == pytest.approx(linear_cka(paired(x, y)), abs=1e-6)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_network_is_most_alike_itself(name: str):
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 3, 2, generator=draw) for _ in range(2))
    each = similarity(name)
    assert float(each.of(x, x)) == pytest.approx(each.best, abs=1e-6)
    assert float(each.of(x, y)) < each.best - 0.1


def test_only_cka_stays_when_units_change_their_order():
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 4, generator=draw) for _ in range(2))
    moved = x[:, torch.tensor([2, 0, 3, 1])]
    same = {name for name, each in SIMILARITIES.items() if abs(float(each.of(moved, y) - each.of(x, y))) < 1e-6}
    assert same == {"cka"}


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(RecipeError, match="cosine"):
        similarity("cosin")
