"""PCB-Merging over a whole model of several tensors, through the engine, against one flat vector."""

from __future__ import annotations

import numpy as np
import torch

from ligate.core.tensors import dtype_name
from ligate.engine import blocks
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods import _catalogue
from ligate.methods.merge.pcb_test import by_definition
from ligate.ops import order, pile

SHAPES = {"embed": (60, 20), "w": (47, 31), "norm": (31,), "bias": (3,), "scalar": ()}
LABELS = ("base", "one", "two", "three")


def flat(state):
    return np.concatenate([state[name].numpy().ravel() for name in SHAPES])


def test_bounds_and_scores_of_the_whole_model(monkeypatch):
    for module, name, value in (
        (blocks, "BLOCK", 1 << 8),
        (blocks, "SEGMENT", 1 << 9),
        (blocks, "GLIMPSE", 1 << 6),
        (order, "SAMPLE", 1 << 8),
        (pile, "CAPACITY", 1 << 7),
        (pile, "BINS", 1 << 6),
    ):
        monkeypatch.setattr(module, name, value)
    g = torch.Generator().manual_seed(5)
    states = [
        {name: torch.randn(shape, generator=g, dtype=torch.float64) for name, shape in SHAPES.items()} for _ in LABELS
    ]
    card = _catalogue.load("merge/pcb")
    weights = (1.2, 0.8, 1.0)
    params = {name: param.default for name, param in card.params.items()} | {"weight": weights}
    outs = tuple(
        Out(
            name,
            dtype_name(torch.float64),
            shape,
            card.id,
            tuple(Operand(k, name) for k in (1, 2, 3)),
            Operand(0, name),
            params,
        )
        for name, shape in SHAPES.items()
    )
    sink = MemorySink({one.name: one.header for one in outs})
    sources = [MemorySource(label, state) for label, state in zip(LABELS, states, strict=True)]
    run(Plan(LABELS, outs), sources, lambda name: card, sink, threads=2)
    base, *tuned = map(flat, states)
    expected = base + by_definition(np.stack([model - base for model in tuned]), 0.1, 1e-4, weights)
    np.testing.assert_allclose(flat(sink.state_dict()), expected, rtol=1e-9, atol=1e-12)
