"""The maps, against networks written out by hand: what they compute must not change."""

from __future__ import annotations

import pytest
import torch

from ligate.align.maps import AxisMap, Group, Place, applied, mapped, reordered, units

HEADS = Group(
    "inside of heads",
    4,
    (
        Place("v", 0, (2, 4), 1, over=((0, 0),)),
        Place("b", 0, (2, 4), 1, over=((0, 0),)),
        Place("o", 1, (2, 3, 4), 2, "reads", ((1, 0),)),
    ),
    "invertible",
    2,
)
STREAM = Group(
    "stream",
    6,
    (Place("in", 0, (6,), 0), Place("g", 0, (6,), 0, "scales"), Place("out", 1, (6,), 0, "reads", (), "g")),
    "orthogonal",
)


def random(seed: int, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}


def grouped_heads(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Values of two groups, each read by three heads of its own."""
    values = (state["v"] @ x + state["b"][:, None]).reshape(2, 1, 4, -1).expand(2, 3, 4, -1)
    return state["o"] @ values.reshape(24, -1)


def normed(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    y = state["in"] @ x
    return state["out"] @ (y / y.square().mean(0).sqrt() * state["g"][:, None])


def test_each_copy_in_an_order_of_its_own():
    state = random(0, v=(8, 5), b=(8,), o=(7, 24), other=(2,))
    x = random(1, x=(5, 3))["x"]
    orders = torch.tensor([[2, 0, 3, 1], [1, 0, 2, 3]])
    moved = applied(state, [reordered(HEADS, orders)])
    assert moved["v"][0].equal(state["v"][2]) and moved["v"][4].equal(state["v"][5])
    assert moved["other"] is state["other"]
    torch.testing.assert_close(grouped_heads(moved, x), grouped_heads(state, x))


def test_one_order_for_all_copies_is_that_order_for_each():
    state, order = random(0, v=(8, 5), b=(8,), o=(7, 24)), torch.tensor([2, 0, 3, 1])
    one = applied(state, [reordered(HEADS, order)])
    each = applied(state, [reordered(HEADS, order.repeat(2, 1))])
    assert all(one[name].equal(each[name]) for name in state)


def test_an_invertible_map_of_each_copy_is_undone_by_what_reads_it():
    state, x = random(0, v=(8, 5), b=(8,), o=(7, 24)), random(1, x=(5, 3))["x"]
    m = random(2, m=(2, 4, 4))["m"]
    moved = applied(state, [AxisMap(HEADS, m, torch.linalg.inv(m).mT)])
    assert not torch.allclose(moved["v"], state["v"])
    torch.testing.assert_close(grouped_heads(moved, x), grouped_heads(state, x))


def test_a_rotation_folds_the_scale_of_a_norm_and_takes_another_one():
    state, x = random(0, **{"in": (6, 5), "g": (6,), "out": (3, 6)}), random(1, x=(5, 4))["x"]
    q = torch.linalg.qr(random(2, q=(6, 6))["q"]).Q
    scales = torch.stack([state["g"], torch.linspace(0.5, 2, 6, dtype=torch.float64)])
    moved = applied(state, [AxisMap(STREAM, q, q, {"g": scales})])
    assert moved["g"].equal(scales[1])
    torch.testing.assert_close(normed(moved, x), normed(state, x))


def test_a_permutation_moves_the_scale_of_a_norm_exactly():
    state, x = random(0, **{"in": (6, 5), "g": (6,), "out": (3, 6)}), random(1, x=(5, 4))["x"]
    moved = applied(state, [reordered(STREAM, torch.tensor([3, 4, 5, 0, 2, 1]))])
    assert moved["g"][0].equal(state["g"][3])
    torch.testing.assert_close(normed(moved, x), normed(state, x))


def test_a_width_that_changes():
    """Four units that are two pairs of equals become two; what reads them adds their columns up."""
    group = Group("hidden", 4, (Place("w", 0, (4,), 0), Place("v", 1, (4,), 0, "reads")))
    write = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    state = {"w": torch.tensor([[1.0], [1.0], [3.0], [3.0]]), "v": torch.tensor([[0.5, 0.5, -1.0, -1.0]])}
    small = applied(state, [AxisMap(group, write, 2 * write)])
    assert small["w"].tolist() == [[1.0], [3.0]]
    assert small["v"].tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_orders_keep_every_bit(dtype: torch.dtype):
    value = torch.arange(24).reshape(8, 3).to(dtype)
    moved = mapped("v", value, [reordered(HEADS, torch.tensor([1, 0, 3, 2]))])
    assert moved.dtype == dtype
    assert moved.equal(value[[1, 0, 3, 2, 5, 4, 7, 6]])


def test_units_are_rows_of_each_copy():
    o = random(0, o=(7, 24))["o"]
    rows = units(o, HEADS.places[2])
    assert rows.shape == (2, 4, 21)
    assert rows[1, 2].reshape(7, 3).equal(o.reshape(7, 2, 3, 4)[:, 1, :, 2])
