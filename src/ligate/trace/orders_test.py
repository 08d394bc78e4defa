from __future__ import annotations

import numpy as np
import torch

from ligate.io.memory import MemorySource
from ligate.trace.orders import Reordered, orders


def _network(seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"in.weight": (24, 16), "in.bias": (24,), "mid.weight": (24, 24), "conv": (20, 24, 3, 3), "out": (5, 20)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def _moved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(7)
    a, b, c = torch.randperm(24, generator=draw), torch.randperm(24, generator=draw), torch.randperm(20, generator=draw)
    return {
        "in.weight": state["in.weight"][a],
        "in.bias": state["in.bias"][a],
        "mid.weight": state["mid.weight"][b][:, a],
        "conv": state["conv"][c][:, b],
        "out": state["out"][:, c],
    }


def test_units_in_another_order_are_put_back():
    state = _network(0)
    tuned = {name: value + 0.05 * torch.randn(value.shape) for name, value in state.items()}
    source = MemorySource("moved", _moved(tuned))
    moves = orders(source, MemorySource("like", state))
    assert moves is not None
    back = Reordered(source, moves)
    for name, value in tuned.items():
        found = np.empty(value.numel() - 3, dtype=np.float32)  # from the fourth element on
        back.read_into(name, 3, memoryview(found).cast("B"))
        np.testing.assert_array_equal(found, value.reshape(-1)[3:].numpy())


def test_strangers_and_those_that_were_not_moved_have_no_orders():
    assert orders(MemorySource("a", _network(0)), MemorySource("b", _network(1))) is None
    assert orders(MemorySource("a", _network(0)), MemorySource("b", _network(0))) is None
