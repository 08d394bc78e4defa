"""Fisher-weighted averaging against its equation, worked by hand."""

from __future__ import annotations

import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.core.tensors import Header, dtype_name
from ligate.engine import blocks
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource

from .fisher import fisher


def test_two_numbers_by_hand():
    """p (1 - p) at theta 0 and 2 of a network with logits (0, theta): .25 and .104994."""
    merged = fisher(None, torch.tensor([0.0, 2.0], dtype=torch.float64)[:, None],
                    fisher=torch.tensor([[0.25], [0.1049935854]]).double(), normalize=False)  # fmt: skip
    assert float(merged) == pytest.approx(0.591524, abs=1e-6)


def test_weights_multiply_the_information():
    tuned, information = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[3.0], [1.0]]).double()
    assert float(fisher(None, tuned, fisher=information, weight=(1, 3), normalize=False)) == pytest.approx(0.5)


def test_the_length_takes_the_scale_of_a_model_away():
    draw = torch.Generator().manual_seed(0)
    tuned, information = torch.randn(2, 9, generator=draw), torch.rand(2, 9, generator=draw)
    scaled = information * torch.tensor([[1.0], [1000.0]])
    torch.testing.assert_close(fisher(None, tuned, fisher=scaled), fisher(None, tuned, fisher=information))
    plain = fisher(None, tuned, fisher=scaled, normalize=False)
    torch.testing.assert_close(plain, tuned[1], rtol=0.1, atol=0.1)
    lengths = [2.0, 0.5]
    due = (tuned[0] * information[0] / 2 + tuned[1] * information[1] * 2) / (information[0] / 2 + information[1] * 2)
    torch.testing.assert_close(fisher(None, tuned, fisher=information, lengths=lengths), due)


def test_numbers_that_no_example_touched_are_averaged():
    tuned, information = torch.tensor([[1.0, 1.0], [3.0, 3.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    assert fisher(None, tuned, fisher=information, normalize=False).tolist() == pytest.approx([2.0, 3.0])
    assert fisher(None, tuned, fisher=information * 0).tolist() == [2.0, 2.0]
    assert fisher(None, tuned).tolist() == [2.0, 2.0]


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(RecipeError, match="sum to zero"):
        fisher(None, torch.ones(2, 3), weight=(0.0, 0.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_lengths_are_those_of_the_whole_model_however_it_is_cut(dtype, monkeypatch):
    draw = torch.Generator().manual_seed(1)
    shapes = {"a": (40, 30), "b": (7,), "bare": (5,)}
    states = [{name: torch.randn(shape, generator=draw).to(dtype) for name, shape in shapes.items()} for _ in range(2)]
    known = [{name: torch.rand(shapes[name], generator=draw) * 10**-k for name in ("a", "b")} for k in range(2)]
    outs = tuple(
        Out(name, dtype_name(dtype), shape, "merge/fisher", (Operand(0, name), Operand(1, name)), None,
            {"weight": (1.0, 1.0), "normalize": True, "floor": 1e-12},
            {"fisher": (Operand(2, name), Operand(3, name))} if name != "bare" else {})
        for name, shape in shapes.items()
    )  # fmt: skip
    labels = ("x", "y", "x+fisher", "y+fisher")
    sources = [MemorySource(label, state) for label, state in zip(labels, (*states, *known), strict=True)]
    found = []
    for block, threads in ((1 << 17, 1), (1 << 7, 3)):
        monkeypatch.setattr(blocks, "BLOCK", block)
        monkeypatch.setattr(blocks, "SEGMENT", block * 4)
        sink = MemorySink({name: Header(dtype_name(dtype), shape) for name, shape in shapes.items()})
        run(Plan(labels, outs), sources, lambda name: fisher.card, sink, threads=threads)  # type: ignore[attr-defined]
        found.append(sink.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in shapes)
    lengths = [float(torch.cat([one.double().flatten() for one in each.values()]).norm()) for each in known]
    wide = torch.stack([state["a"].double() for state in states])
    due = fisher(None, wide, fisher=torch.stack([each["a"].double() for each in known]), lengths=lengths)
    torch.testing.assert_close(found[0]["a"], due.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-7)
