from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ligate.core.errors import InputError
from ligate.core.tensors import Source, itemsize

from .floats import widened
from .memory import MemorySource
from .rows import FILLED, MEAN, Layout, Reordered, Rows

NAME = "embed"
WIDTH = 3


def source(label: str, rows: int, dtype: torch.dtype = torch.float32, width: int = WIDTH) -> MemorySource:
    """Row i of model `a` is [100 i, 100 i + 1, ...], of others as much more as the letter says."""
    numbers = torch.arange(rows)[:, None] * 8 + torch.arange(width) + 256 * (ord(label) - ord("a"))
    return MemorySource(label, {NAME: numbers.to(dtype), "other": torch.ones(2)})


def view(
    inner: Source,
    own: list[int],
    filled: dict[int, list[tuple[str, int]]] | None = None,
    *others: Source,
    axis: int = 0,
) -> Reordered:
    models = {one.label: one for one in (inner, *others)}
    return Reordered(inner, {NAME: Rows(axis, Layout(np.array(own), filled or {}))}, models)


def read(one: Source, start: int = 0, stop: int | None = None, name: str = NAME) -> np.ndarray:
    header = one.headers()[name]
    raw = bytearray(((header.numel if stop is None else stop) - start) * itemsize(header.dtype))
    one.read_into(name, start, memoryview(raw))
    return widened(raw, header.dtype)


def test_rows_stand_where_the_layout_says():
    found = view(source("a", 3), [2, 0, 1])
    assert read(found).tolist() == [16, 17, 18, 0, 1, 2, 8, 9, 10]
    assert read(found, name="other").tolist() == [1, 1]


def test_filled_rows_are_copied_averaged_or_zero():
    b, c = source("b", 2), source("c", 2)
    found = view(source("a", 2), [0, FILLED, FILLED, FILLED], {1: [("b", 1)], 2: [("b", 1), ("c", 0)], 3: []}, b, c)
    rows = read(found).reshape(4, WIDTH)
    assert rows[1].tolist() == [264, 265, 266]
    assert rows[2].tolist() == [(264 + 512) / 2, (265 + 513) / 2, (266 + 514) / 2]
    assert rows[3].tolist() == [0, 0, 0]


def test_the_mean_row_is_the_average_of_all_others():
    found = view(source("a", 4), [0, MEAN, 3, MEAN])
    assert read(found).reshape(4, WIDTH)[[1, 3]].tolist() == [[12, 13, 14]] * 2


def test_copies_keep_the_dtype_and_averages_are_wide_and_round_to_it():
    a, b = source("a", 2, torch.bfloat16), source("b", 2, torch.bfloat16)
    copied = view(a, [1, FILLED], {1: [("b", 0)]}, b).headers()[NAME]
    assert (copied.dtype, copied.rounds_to, copied.shape) == ("BF16", None, (2, WIDTH))
    averaged = view(a, [1, MEAN]).headers()[NAME]
    assert (averaged.dtype, averaged.native) == ("F32", "BF16")
    mixed = view(a, [1, FILLED], {1: [("b", 0)]}, source("b", 2, torch.float64)).headers()[NAME]
    assert (mixed.dtype, mixed.native) == ("F64", "BF16")
    assert read(view(a, [1, MEAN])).tolist() == [8, 9, 10, 8, 9, 10]


def test_rows_of_whole_numbers_move_but_have_no_average():
    whole = source("a", 2, torch.int64)
    raw = bytearray(2 * WIDTH * 8)
    view(whole, [1, 0]).read_into(NAME, 0, memoryview(raw))
    assert np.frombuffer(raw, np.int64).tolist() == [8, 9, 10, 0, 1, 2]
    with pytest.raises(InputError, match="'embed' is I64, whose rows cannot be averaged"):
        view(whole, [0, MEAN])


def test_rows_may_lie_along_the_second_axis_behind_one_of_size_one():
    one = MemorySource("a", {NAME: torch.arange(4.0)[None]})
    found = view(one, [3, FILLED, 0], {1: []}, axis=1)
    assert found.headers()[NAME].shape == (1, 3)
    assert read(found).tolist() == [3, 0, 0]


def test_what_lies_together_is_read_ahead():
    asked: list[tuple[int, int]] = []
    inner = source("a", 8)
    inner.prefetch = lambda name, start, stop: asked.append((start, stop))  # type: ignore[method-assign]
    found = view(inner, [2, 3, 4, MEAN, 0])
    found.prefetch(NAME, 1, 2 * WIDTH)
    found.prefetch(NAME, 3 * WIDTH, 4 * WIDTH)  # the mean row lies nowhere
    assert asked == [(2 * WIDTH, 4 * WIDTH)]


layouts = st.lists(st.one_of(st.integers(0, 5), st.sampled_from([MEAN, FILLED])), min_size=1, max_size=12)
places = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(own=layouts, place=places, large=st.booleans())
def test_any_range_is_a_part_of_the_whole(own, place, large):
    """Small tensors are kept, large ones are read again each time: both give the same."""
    origins = [[], [("b", 2)], [("b", 0), ("a", 1)]]
    filled = {number: origins[number % 3] for number, origin in enumerate(own) if origin == FILLED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ligate.io.rows._SMALL", 0 if large else 1 << 20)
        found = view(source("a", 6), own, filled, source("b", 3))
        whole = read(found)
        start, stop = (min(part, len(whole)) for part in sorted(place))
        np.testing.assert_array_equal(read(found, start, stop), whole[start:stop])


@given(rows=st.integers(1, 9), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_the_own_rows_in_their_places_are_the_tensor_itself(rows, dtype):
    inner = source("a", rows, dtype)
    layout = Layout(np.arange(rows))
    assert layout.is_plain
    found = view(inner, layout.own.tolist())
    assert found.headers() == inner.headers()
    np.testing.assert_array_equal(read(found), read(inner))


@given(order=st.permutations(range(7)))
def test_an_order_and_its_inverse_undo_each_other(order):
    inner = source("a", 7)
    inverse = [order.index(number) for number in range(7)]
    np.testing.assert_array_equal(read(view(view(inner, list(order)), inverse)), read(inner))
