from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.core.tensors import itemsize

from .filled import filled
from .memory import MemorySource

DRAW = torch.Generator().manual_seed(4)
NARROW = {"conv": torch.randn(5, 2, 3, 3, generator=DRAW), "same": torch.randn(4, generator=DRAW)}
WIDE = {"conv": torch.randn(5, 6, 3, 3, generator=DRAW), "same": torch.randn(4, generator=DRAW)}
WHOLE = torch.cat([NARROW["conv"], WIDE["conv"][:, 2:]], 1)


def view():
    return filled(MemorySource("b", NARROW), MemorySource("a", WIDE))


def read(source, name: str, start: int, count: int) -> torch.Tensor:
    out = bytearray(count * itemsize(source.headers()[name].dtype))
    source.read_into(name, start, memoryview(out))
    return torch.frombuffer(out, dtype=torch.float32)


def test_the_missing_channels_are_the_wide_models():
    assert view().headers()["conv"].shape == (5, 6, 3, 3)
    assert torch.equal(read(view(), "conv", 0, WHOLE.numel()), WHOLE.flatten())
    assert torch.equal(read(view(), "same", 1, 2), NARROW["same"][1:3])


@pytest.mark.parametrize(("start", "count"), [(0, 1), (17, 2), (18, 40), (53, 2), (100, 111), (269, 1)])
def test_any_range_can_be_read(start, count):
    assert torch.equal(read(view(), "conv", start, count), WHOLE.flatten()[start : start + count])


def test_only_the_second_axis_may_be_shorter():
    for shape in ((5, 6, 3, 3), (4, 2, 3, 3), (5, 2, 1, 3), (5, 7, 3, 3), (5,)):
        with pytest.raises(RecipeError, match="fill of b: no tensor is narrower than in `a`"):
            filled(MemorySource("b", {"conv": torch.zeros(shape)}), MemorySource("a", WIDE))


def test_another_dtype_is_refused_by_name():
    with pytest.raises(InputError, match=r"tensor conv.*: dtype F16 here, F32 in `a`"):
        filled(MemorySource("b", {"conv": NARROW["conv"].half()}), MemorySource("a", WIDE))
