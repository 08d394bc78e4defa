from __future__ import annotations

import pytest
import torch

from ligate.io.memory import MemorySource
from ligate.trace.copies import Copy, copies, relocated
from ligate.trace.gathering import gather
from ligate.trace.kinship import clan
from ligate.trace.samples import samples


def found(*states: dict[str, torch.Tensor]) -> dict[int, Copy]:
    sources = [MemorySource(f"m{number}", state) for number, state in enumerate(states)]
    gathered, _ = gather(sources)
    related = clan(gathered, range(len(states)))
    return copies(samples(sources, gathered), related.members, related.squared)


def network() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {"w": torch.randn(40, 60, generator=draw), "b": torch.randn(40, generator=draw)}


def levels(value: torch.Tensor, most: int) -> torch.Tensor:
    step = value.abs().amax(-1, keepdim=True) / most
    return (value / step).round() * step


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("copied", lambda x: x.clone()),
        ("rounded", lambda x: x.half().float()),
        ("rounded", lambda x: x.bfloat16()),
        ("quantised", lambda x: levels(x, 127) if x.ndim > 1 else x),
        ("quantised", lambda x: levels(x, 7) if x.ndim > 1 else x),
        ("pruned", lambda x: torch.where(x.abs() < 0.3, 0, x)),
    ],
)
def test_the_original_of_a_copy_is_told(kind: str, change):
    state = network()
    other = {name: value + 0.02 * torch.randn_like(value) for name, value in state.items()}
    assert found(state, {name: change(value) for name, value in state.items()}, other) == {1: Copy(0, kind)}


def test_a_child_that_was_trained_is_no_copy():
    state = network()
    child = {name: value + 1e-3 * torch.randn_like(value) for name, value in state.items()}
    assert found(state, child) == {}


def test_a_lock_and_its_child_are_told_from_their_kin():
    draw = torch.Generator().manual_seed(1)

    def moved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value + 0.03 * torch.randn(value.shape, generator=draw) for name, value in state.items()}

    root = {"mlp": torch.randn(40, 60, generator=draw), "query": torch.randn(30, 40, generator=draw)}
    a, b = moved(root), moved(root)
    locked = {**a, "query": 3 * torch.randn(30, 30, generator=draw) @ a["query"]}
    nets = [root, a, b, locked, moved(locked)]
    gathered, _ = gather([MemorySource(f"m{number}", state) for number, state in enumerate(nets)])
    related = clan(gathered, range(len(nets)))
    assert relocated(related) == {3: Copy(1, "locked")}
    assert related.foreign.any(0).tolist() == [False, False, False, True, True]
