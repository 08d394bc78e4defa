from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ligate.align.maps import Group, Place, applied
from ligate.align.members import random_member
from ligate.trace.heads import apart, in_heads, product, sides
from ligate.trace.locking import draw_of, drawn, foldable, inverse
from ligate.trace.undoing import gauge, undone

WRITTEN = (Place("q", 0, (2, 3, 4), 2, over=((0, 0),)), Place("bias", 0, (2, 3, 4), 2, over=((0, 0),)))
READ = Place("k", 0, (2, 4), 1, "reads", ((0, 0),))
KEYS = Group("keys", 4, (*WRITTEN, READ), "invertible", 2)  # 2 heads of keys, 3 of queries on each
KINDS = ("invertible", "rotary", "orthogonal")


def weights(seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"q": (24, 9), "bias": (24,), "k": (8, 9)}
    return {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}


def moved(state: dict[str, Tensor], kind: str, seed: int = 1) -> dict[str, Tensor]:
    return applied(state, drawn([KEYS._replace(kind=kind)], state, draw_of(seed)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_heads_compute_stays_while_their_numbers_go_far(kind):
    group, state = KEYS._replace(kind=kind), weights()
    told = apart(sides(moved(state, kind), group), sides(state, group))
    assert (told.weights > 0.5).all()
    assert (told.function < 1e-6).all()


def test_products_are_those_of_the_large_matrices():
    a, b = sides(weights(0), KEYS), sides(weights(1), KEYS)
    slow = [float(((x.mT @ y) * (u.mT @ v)).sum()) for x, y, u, v in zip(a.read, a.write, b.read, b.write, strict=True)]
    torch.testing.assert_close(product(a, b), torch.tensor(slow, dtype=torch.float64))
    turning = KEYS._replace(kind="orthogonal")
    a, b = sides(weights(0), turning), sides(weights(1), turning)
    slow = [float(((x.mT @ x) * (y.mT @ y)).sum()) for x, y in zip(a.joined, b.joined, strict=True)]
    torch.testing.assert_close(product(a, b), torch.tensor(slow, dtype=torch.float64))


def test_pairs_are_compared_as_rotary_positions_see_them():
    """The scores of all positions: what turns a pair by the angle t sees sum over k of conj(r_k) exp(i t) w_l."""
    group, angles = KEYS._replace(kind="rotary"), torch.linspace(0, 6.28319, 65, dtype=torch.float64)[:-1]

    def scores(state: dict[str, Tensor]) -> Tensor:
        each = sides(state, group)
        w, r = (torch.complex(*side.chunk(2, 1)) for side in (each.write, each.read))
        turning = torch.polar(torch.ones_like(angles), angles)
        return torch.einsum("t,hjk,hjl->hjtkl", turning, r.conj(), w).real

    a, b = weights(0), weights(1)
    slow = (scores(a) * scores(b)).sum((1, 2, 3, 4)) / 32
    torch.testing.assert_close(product(sides(a, group), sides(b, group)), slow, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores(moved(a, "rotary")), scores(a))


def test_biases_may_be_left_out():
    assert sides(weights(), KEYS).write.shape == (2, 4, 30)
    assert sides(weights(), KEYS, biases=False).write.shape == (2, 4, 27)


def test_streams_and_permuted_units_are_no_heads():
    scaled = (Place("w", 1, (4,), 0, "reads", scale="norm"), Place("norm", 0, (4,), 0, "scales"))
    stream, units = Group("stream", 4, scaled, "orthogonal"), KEYS._replace(kind="permutation")
    assert in_heads([stream, units, KEYS]) == [KEYS]


@pytest.mark.parametrize("kind", [*KINDS, "permutation", "signed"])
def test_a_lock_is_taken_off_by_its_inverse(kind):
    group, state = KEYS._replace(kind=kind), weights()
    maps = drawn([group, group], state, draw_of(3))  # twice: the order matters
    back = applied(applied(state, maps), inverse(maps))
    for name, value in state.items():
        torch.testing.assert_close(back[name], value)


def test_norms_are_folded_and_unfolded():
    places = (
        Place("e", 1, (4,), 0),
        Place("w", 1, (4,), 0, "reads", scale="norm"),
        Place("norm", 0, (4,), 0, "scales"),
    )
    group = Group("stream", 4, places, "orthogonal")
    draw = torch.Generator().manual_seed(0)
    state = {name: torch.randn(5, 4, generator=draw).double() for name in "ew"}
    state["norm"] = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    maps = drawn([group], state, draw_of(0))
    back = applied(applied(state, maps), inverse(maps))
    assert all(torch.allclose(back[name], value) for name, value in state.items())
    assert foldable(group, state) and not foldable(group, {**state, "norm": torch.tensor([1.0, 0.0, 1.0, 1.0])})


def test_the_matrices_are_well_conditioned_and_those_without_a_seed_differ():
    maps = [drawn([KEYS], {}, draw_of(seed))[0] for seed in (None, None, 5, 5)]
    assert all(float(torch.linalg.cond(each.write).max()) <= 4 + 1e-9 for each in maps)
    assert not torch.allclose(maps[0].write, maps[1].write) and maps[2].write.equal(maps[3].write)
    assert not torch.allclose(maps[0].write[0], maps[0].write[1])  # each head its own


def test_seeds_that_torch_cannot_tell_apart_give_other_locks():
    one, other = (drawn([KEYS], {}, draw_of(seed))[0].write for seed in (1, 1 + 2**32))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_has_the_base_finds_the_matrices(kind):
    group, state = KEYS._replace(kind=kind), weights()
    (lock,) = drawn([group], state, draw_of(2))
    found = gauge(sides(applied(state, [lock]), group), sides(state, group))
    torch.testing.assert_close(found, lock.write)


def test_the_gauge_solves_its_equation():
    """Against a plain solver, where base and locked model are not one function."""
    group = KEYS
    locked, base = sides(weights(0), group), sides(weights(1), group)
    found = gauge(locked, base)
    for head in range(2):
        w, r, w0, r0 = (side[head] for side in (locked.write, locked.read, base.write, base.read))
        size = w.norm() / w0.norm()
        w, r = w / size, r * size
        eye = torch.eye(4, dtype=torch.float64)
        system = torch.kron((r @ r.T).clone(), eye) + torch.kron(eye, (w0 @ w0.T).clone())
        slow = torch.linalg.solve(system, (w @ w0.T + r @ r0.T).reshape(-1)).reshape(4, 4)
        torch.testing.assert_close(found[head], size * slow)


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_gauge_is_better(kind):
    group = KEYS._replace(kind=kind)
    locked, base = sides(weights(0), group), sides(weights(1), group)

    def loss(m: Tensor) -> Tensor:
        gone = (locked.write - m @ base.write).square().sum((1, 2))
        return gone + (m.mT @ locked.read - base.read).square().sum((1, 2))

    size = locked.write.norm(dim=(1, 2)) / base.write.norm(dim=(1, 2))  # then both terms count alike
    if kind != "orthogonal":
        locked = locked._replace(write=locked.write / size[:, None, None], read=locked.read * size[:, None, None])
    best = gauge(locked, base)
    for seed in range(5):
        nudge = random_member(group, {}, torch.Generator().manual_seed(seed)).write
        nudged = torch.linalg.matrix_exp(0.01 * (nudge - nudge.mT)) @ best
        if kind == "rotary":
            nudged = best + 0.01 * nudge
        assert (loss(nudged) >= loss(best)).all()


def test_a_fine_tune_comes_back_up_to_what_lies_along_the_symmetry():
    state = weights()
    task = {name: 0.01 * value for name, value in weights(7).items()}
    tuned = {name: value + task[name] for name, value in state.items()}
    back = applied(moved(tuned, "invertible"), undone(moved(tuned, "invertible"), state, [KEYS]))
    found = torch.cat([(back[name] - state[name]).flatten() for name in state])
    true = torch.cat([task[name].flatten() for name in state])
    assert float(found @ true / found.norm() / true.norm()) > 0.85  # 32 of 320 directions are nobody's to know
    told = apart(sides(back, KEYS), sides(tuned, KEYS))
    assert (told.function < 1e-6).all()


def test_heads_of_zeros_are_left_alone():
    nothing = {name: torch.zeros_like(value) for name, value in weights().items()}
    for kind in KINDS:
        (each,) = undone(nothing, nothing, [KEYS._replace(kind=kind)])
        assert bool(each.write.isfinite().all()) and bool(each.read.isfinite().all())
