"""The view hands out what `applied` makes, range by range, and asks for no more than it must."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ligate.align.alignment import Alignment, Made
from ligate.align.maps import AxisMap, Group, Place, applied, reordered
from ligate.align.view import Moved
from ligate.core.errors import InputError
from ligate.io.memory import MemorySource

MADE = Made("by hand")
DTYPES = [torch.float8_e4m3fn, torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.uint8,
          torch.bool, torch.complex64]  # fmt: skip

UNITS = Group("units", 4, (Place("a", 0, (3, 4), 1), Place("b", 0, (3, 4), 1), Place("c", 1, (3, 4, 2), 1)))
EACH = Group(
    "each",
    4,
    tuple(place._replace(over=((place.dim, 0),)) for place in UNITS.places),
    copies=3,
)
COLUMNS = Group("columns", 10, (Place("a", 1, (10,), 0),))
EXPERTS = Group(
    "experts", 6, (Place("d", 1, (2, 6), 1, over=((0, 0),)), Place("e", 2, (6,), 0, "reads", ((0, 0),))), copies=5
)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(shape, dtype=torch.float32) -> torch.Tensor:
    value = torch.randn(shape, generator=draw(1), dtype=torch.float32 if not dtype.is_complex else dtype)
    return value.to(dtype) if dtype != torch.bool else value > 0


def orders() -> tuple[AxisMap, ...]:
    generator = draw(2)

    def several(count: int, size: int) -> torch.Tensor:
        return torch.stack([torch.randperm(size, generator=generator) for _ in range(count)])

    return (
        reordered(UNITS, several(1, 4)[0]),
        reordered(EACH, several(3, 4)),
        reordered(COLUMNS, several(1, 10)[0]),
        reordered(EXPERTS, several(5, 6)),
    )


def model(dtype=torch.float32):
    shapes = {"a": (12, 10), "b": (12,), "c": (2, 24, 2, 3), "d": (5, 12, 3), "e": (5, 7, 6), "other": (3, 2)}
    return {name: numbers(shape, dtype) for name, shape in shapes.items()}


def raw(value: torch.Tensor) -> bytes:
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def read(view, name: str, start: int, stop: int) -> bytes:
    header = view.headers()[name]
    out = bytearray((stop - start) * (header.nbytes // max(header.numel, 1)))
    view.read_into(name, start, memoryview(out))
    return bytes(out)


def whole(view, name: str) -> bytes:
    return read(view, name, 0, view.headers()[name].numel)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_orders_are_exact_in_every_dtype(dtype):
    tensors = model(dtype)
    # torch orders no float8 itself: the bytes are ordered instead
    size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    wanted = applied({name: value.view(size) for name, value in tensors.items()}, orders())
    view = Moved(MemorySource("b", tensors), Alignment(orders(), MADE))
    assert {name: (h.dtype, h.shape) for name, h in view.headers().items()} == {
        name: (h.dtype, h.shape) for name, h in MemorySource("b", tensors).headers().items()
    }
    assert all(whole(view, name) == raw(value) for name, value in wanted.items())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from("abcde"), st.data())
def test_any_range_is_that_of_the_whole(name, data):
    tensors = model(torch.float16)
    view = Moved(MemorySource("b", tensors), Alignment(orders(), MADE))
    count = tensors[name].numel()
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    wanted = raw(applied(tensors, orders())[name].reshape(-1)[start:stop])
    assert read(view, name, start, stop) == wanted


def mixing(new: int, size: int) -> torch.Tensor:
    return torch.randn(new, size, generator=draw(3), dtype=torch.float64)


def test_matrices_change_widths_and_are_rounded_by_nobody_here():
    group = Group(
        "hidden", 4, (Place("up", 0, (4,), 0), Place("bias", 0, (4,), 0), Place("down", 1, (4, 3), 0, "reads"))
    )
    each = AxisMap(group, mixing(6, 4), mixing(6, 4).flip(0))
    tensors = {"up": numbers((4, 5), torch.bfloat16), "bias": numbers((4,)), "down": numbers((2, 12), torch.float64)}
    view = Moved(MemorySource("b", tensors), Alignment((each,), MADE))
    told = {name: (h.dtype, h.shape, h.native) for name, h in view.headers().items()}
    assert told == {
        "up": ("F32", (6, 5), "BF16"),
        "bias": ("F32", (6,), "F32"),
        "down": ("F64", (2, 18), "F64"),
    }
    up = (each.write @ tensors["up"].double()).float()
    down = torch.einsum("nk,okr->onr", each.read, tensors["down"].view(2, 4, 3)).reshape(2, 18)
    assert whole(view, "up") == raw(up)
    assert torch.allclose(torch.frombuffer(bytearray(whole(view, "down")), dtype=torch.float64), down.view(-1))
    assert read(view, "down", 5, 30) == raw(down.reshape(-1)[5:30]) or torch.allclose(
        torch.frombuffer(bytearray(read(view, "down", 5, 30)), dtype=torch.float64), down.reshape(-1)[5:30]
    )


@pytest.mark.parametrize("new", [2, 4, 7])
def test_rows_become_fewer_or_more(new):
    group = Group("g", 4, (Place("up", 0, (4,), 0), Place("bias", 0, (4,), 0)))
    each = AxisMap(group, mixing(new, 4), mixing(new, 4))
    tensors = {"up": numbers((4, 5), torch.float64), "bias": numbers((4,), torch.float64)}
    view = Moved(MemorySource("b", tensors), Alignment((each,), MADE))
    for name, value in tensors.items():
        got = torch.frombuffer(bytearray(whole(view, name)), dtype=torch.float64)
        torch.testing.assert_close(got, (each.write @ value).reshape(-1))


def test_no_matrix_mixes_what_is_quantised():
    group = Group("g", 4, (Place("up", 0, (4,), 0),))
    source = MemorySource("b", {"up": numbers((4, 5), torch.float8_e4m3fn)})
    with pytest.raises(InputError, match=r"up.*F8_E4M3"):
        Moved(source, Alignment((AxisMap(group, mixing(4, 4), mixing(4, 4)),), MADE))


class Counted(MemorySource):
    """Remembers how many bytes were asked for at a time."""

    def __init__(self, tensors) -> None:
        super().__init__("b", tensors)
        self.asked: list[int] = []

    def read_into(self, name, start, out) -> None:
        self.asked.append(len(out))
        super().read_into(name, start, out)


def test_a_range_of_an_ordered_matrix_reads_its_rows_only():
    group = Group("g", 100, (Place("w", 0, (100,), 0),))
    source = Counted({"w": numbers((100, 8))})
    view = Moved(source, Alignment((reordered(group, torch.arange(99, -1, -1)),), MADE))
    read(view, "w", 40, 80)
    assert sum(source.asked) == 40 * 4


def test_rows_that_stay_together_are_read_together():
    group = Group("g", 10, (Place("w", 0, (10, 10), 0),))
    source = Counted({"w": numbers((100, 8))})
    view = Moved(source, Alignment((reordered(group, torch.arange(9, -1, -1)),), MADE))
    whole(view, "w")
    assert source.asked == [10 * 8 * 4] * 10


def test_two_maps_may_widen_one_axis_one_after_the_other():
    heads = Group("heads", 2, (Place("v", 0, (2, 3), 0),))
    inside = Group("inside", 3, (Place("v", 0, (4, 3), 1, over=((0, 0),)),), copies=4)
    maps = AxisMap(heads, mixing(4, 2), mixing(4, 2)), AxisMap(inside, mixing(5, 3).repeat(4, 1, 1), mixing(5, 3))
    tensors = {"v": numbers((6, 7), torch.float64)}
    view = Moved(MemorySource("b", tensors), Alignment(maps, MADE))
    assert view.headers()["v"].shape == (20, 7)
    assert whole(view, "v") == raw(applied(tensors, maps)["v"])
    with pytest.raises(InputError, match=r"has the shape \[6, 7\], the alignment expects v"):
        Moved(MemorySource("b", tensors), Alignment(maps[1:], MADE))


def test_a_mixed_tensor_is_made_once_for_all_of_its_ranges_and_threads():
    group = Group("g", 16, (Place("w", 0, (16,), 0),))
    source = Counted({"w": numbers((16, 8))})
    view = Moved(source, Alignment((AxisMap(group, mixing(16, 16), mixing(16, 16)),), MADE))
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(whole(view, "w"))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(found)) == 1 and source.asked == [16 * 8 * 4]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (Place("weigth", 0, (4,), 0), "speaks of 'weigth', which the model lacks"),
        (Place("weight", 2, (4,), 0), r"expects weight\[2\]"),
        (Place("weight", 0, (4,), 0), r"has the shape \[5, 4\]"),
        (Place("weight", 1, (4,), 0, over=((0, 0),)), "expects"),
    ],
)
def test_an_alignment_of_another_model_is_refused(place, told):
    alignment = Alignment((reordered(Group("g", 4, (place,)), torch.arange(4)),), MADE)
    with pytest.raises(InputError, match=told):
        Moved(MemorySource("b", {"weight": torch.zeros(5, 4)}), alignment)


def test_rows_that_stay_are_computed_some_at_a_time_and_always_alike(monkeypatch):
    monkeypatch.setattr("ligate.align.view._PIECE", 24)  # three rows
    group = Group("columns", 8, (Place("w", 1, (8,), 0),))
    each = AxisMap(group, mixing(6, 8), mixing(6, 8))
    tensors = {"w": numbers((10, 8), torch.bfloat16)}
    source = Counted(tensors)
    view = Moved(source, Alignment((each,), MADE))
    wanted = (tensors["w"].double() @ each.write.mT).float()
    part = read(view, "w", 20, 31)
    assert max(source.asked) <= 4 * 8 * 2 and sum(source.asked) < 10 * 8 * 2
    assert whole(view, "w")[20 * 4 : 31 * 4] == part
    torch.testing.assert_close(torch.frombuffer(bytearray(whole(view, "w")), dtype=torch.float32).view(10, 6), wanted)
