"""TIES over a whole model of several tensors, through the engine, against one flat vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.tensors import dtype_name
from ligate.engine import blocks
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods import _catalogue
from ligate.ops import order, pile

SHAPES = {"embed": (300, 20), "w": (97, 61), "norm": (61,), "bias": (3,), "scalar": ()}
LABELS = ("base", "one", "two", "three")


@pytest.fixture(params=["small cuts", "real cuts"])
def cuts(request, monkeypatch):
    if request.param == "small cuts":
        for module, name, value in (
            (blocks, "BLOCK", 1 << 9),
            (blocks, "SEGMENT", 1 << 11),
            (blocks, "GLIMPSE", 1 << 6),
            (order, "SAMPLE", 1 << 10),
            (pile, "CAPACITY", 1 << 7),
            (pile, "BINS", 1 << 6),
        ):
            monkeypatch.setattr(module, name, value)


def models(dtype):
    g = torch.Generator().manual_seed(5)
    base = {name: torch.randn(shape, generator=g) * 0.02 for name, shape in SHAPES.items()}
    changed = [{name: x + torch.randn(x.shape, generator=g) ** 3 * 1e-3 for name, x in base.items()} for _ in range(3)]
    changed[1]["embed"][50:] = base["embed"][50:]  # rows that one model never saw
    return [{name: x.to(dtype) for name, x in model.items()} for model in (base, *changed)]


def merged(states, dtype, threads=2, weights=None):
    """`weights`: by tensor, of the three models."""
    card = _catalogue.load("merge/ties")
    params = {name: param.default for name, param in card.params.items()} | {"density": (0.2,) * 3}
    outs = tuple(
        Out(
            name,
            dtype_name(dtype),
            shape,
            card.id,
            tuple(Operand(k, name) for k in (1, 2, 3)),
            Operand(0, name),
            params | {"weight": (weights or {}).get(name, (1.0,) * 3)},
        )
        for name, shape in SHAPES.items()
    )
    sink = MemorySink({one.name: one.header for one in outs})
    sources = [MemorySource(label, state) for label, state in zip(LABELS, states, strict=True)]
    results = run(Plan(LABELS, outs), sources, lambda name: card, sink, threads=threads)
    return sink.state_dict(), results["norm"].stats


def flat(state):
    return np.concatenate([state[name].double().numpy().ravel() for name in SHAPES])


def by_definition(base, tuned, share, weights=1.0):
    """`weights` [K, N]."""
    tau = np.stack([model - base for model in tuned])
    k = max(1, int(share * tau.shape[1]))
    bounds = np.sort(np.abs(tau), axis=1)[:, -k]
    kept = np.where(np.abs(tau) >= bounds[:, None], tau, 0)
    weights = np.broadcast_to(weights, tau.shape)
    sign = np.sign((weights * kept).sum(0))
    sign[sign == 0] = 1 if sign.sum() > 0 else -1
    agree = (np.sign(kept) == sign) & (kept != 0)
    total, divisor = (weights * kept * agree).sum(0), (weights * agree).sum(0)
    merged = base + total / np.where(divisor == 0, 1, divisor)
    return merged, bounds, (np.abs(tau) >= bounds[:, None]).sum(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_threshold_and_one_majority_for_the_whole_model(dtype, cuts):
    states = models(dtype)
    result, stats = merged(states, dtype)
    expected, bounds, kept = by_definition(flat(states[0]), [flat(state) for state in states[1:]], 0.2)
    assert stats["threshold"]["kept"] == kept.tolist()
    np.testing.assert_allclose(stats["threshold"]["threshold"], bounds, rtol=1e-7)
    rounded = torch.from_numpy(expected).to(dtype).double().numpy()
    assert (flat(result) != rounded).mean() <= 5e-4
    again, _ = merged(states, dtype, threads=1)
    assert all(torch.equal(result[name], again[name]) for name in SHAPES)


def test_weights_that_differ_by_tensor_leave_the_threshold_and_the_majority_whole(cuts):
    states, dtype = models(torch.float32), torch.float32
    weights = {"embed": (0.5, 1.0, 2.0), "w": (1.0, 0.25, 1.0), "norm": (3.0, 1.0, 0.5)}
    by_entry = np.concatenate(
        [np.tile(weights.get(name, (1.0,) * 3), (int(np.prod(shape)), 1)) for name, shape in SHAPES.items()]
    ).T
    result, stats = merged(states, dtype, weights=weights)
    expected, bounds, kept = by_definition(flat(states[0]), [flat(state) for state in states[1:]], 0.2, by_entry)
    assert stats["threshold"]["kept"] == kept.tolist()
    np.testing.assert_allclose(stats["threshold"]["threshold"], bounds, rtol=1e-7)
    np.testing.assert_allclose(flat(result), expected, rtol=1e-6, atol=1e-9)
