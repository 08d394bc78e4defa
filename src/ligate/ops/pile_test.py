from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ligate.ops import pile
from ligate.ops.pile import Pile


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(pile, "CAPACITY", 16)
    monkeypatch.setattr(pile, "BINS", 8)


def filled(*arrays, low=0.0, high=np.inf):
    whole = Pile(low, high)
    for array, weight in arrays:
        whole.add(np.asarray(array, np.float32), weight)
    return whole


def test_steps_are_counted_from_the_top():
    step = filled(([3, 1, 2, 2], 1)).step(2)
    assert (step.low, step.high, step.weight, step.reached) == (2, 2, 2, 3)


def test_weights_add_up():
    step = filled(([1, 2], 10), ([2, 3], 1)).step(2)
    assert (step.low, step.weight, step.reached) == (2, 11, 12)


def test_few_different_numbers_stay_exact_however_many_there_are(small):
    whole = filled(*[([1, 2, 3], 1)] * 100)
    assert whole.exact and whole.step(150).reached == 200


def test_too_many_different_numbers_are_counted_in_steps_that_hold_them(small):
    numbers = np.linspace(1, 2, 100, dtype=np.float32)
    whole = filled((numbers[:50], 1), (numbers[50:], 1), low=1.0, high=2.0)
    assert not whole.exact and whole.total == whole.looks == 100
    step = whole.step(40)
    assert step.low <= np.sort(numbers)[60] <= step.high
    assert ((numbers >= step.low) & (numbers <= step.high)).sum() == step.weight
    assert (numbers >= step.low).sum() == step.reached


@given(st.lists(st.lists(st.floats(0, 100, width=16), max_size=30), max_size=8), st.integers(1, 3), st.booleans())
def test_taking_over_is_adding(lists, weight, in_two):
    pile.CAPACITY, pile.BINS, before = 16, 8, (pile.CAPACITY, pile.BINS)
    try:
        whole, parts = filled(*[(one, weight) for one in lists], high=100), Pile(0, 100)
        for one in lists:
            half = len(one) // 2 if in_two else 0
            parts.absorb(filled((one[:half], weight), (one[half:], weight), high=100))
        assert (parts.total, parts.looks) == (whole.total, whole.looks)
        everything = np.sort(np.concatenate([np.float32(one) for one in lists] or [np.float32([])]))
        for rank in range(1, len(everything) + 1, 7):
            for one in (whole, parts):
                step = one.step(rank * weight)
                assert step.low <= everything[-rank] <= step.high
                assert step.reached == weight * (everything >= step.low).sum()
    finally:
        pile.CAPACITY, pile.BINS = before


def test_memory_is_bounded_whatever_comes(small):
    whole, rng = Pile(0, 1), np.random.default_rng(0)
    for _ in range(50):
        whole.add(rng.random(10, dtype=np.float32), 1)
        part = Pile(0, 1)
        part.add(rng.random(30, dtype=np.float32), 1)
        whole.absorb(part)
        assert (whole._held <= pile.CAPACITY and whole._groups is None) or len(whole._groups[0]) <= pile.CAPACITY
    assert whole.step(10**9).reached == whole.total == 2000
