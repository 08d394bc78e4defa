"""Gates of single rows, against values computed by hand and a merge that is known."""

from __future__ import annotations

import math

import pytest
import torch

from ligate.learn.gradient import Adam, Task, learn
from ligate.learn.objectives import Batch, Told
from ligate.learn.parametrisations import GATE, Gated
from ligate.learn.rows import GatedRows

BASE = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
DELTAS = torch.tensor([[[1.0, 0.0], [4.0, 0.0]], [[0.0, 2.0], [0.0, 8.0]]])


def test_each_row_has_its_own_mixture():
    """First row: halves, once. Second: softmax(ln 3, 0) = (3/4, 1/4), half as far."""
    numbers = {
        GATE: torch.zeros(2),
        "offset:w": torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]),
        "length:w": torch.tensor([1.0, 0.5]),
    }
    found = GatedRows().merged("w", BASE, DELTAS, numbers)
    torch.testing.assert_close(found, torch.tensor([[1.5, 2.0], [3.5, 3.0]]))


def test_learning_begins_at_the_base_or_at_the_mean():
    for length, begins in ((0.0, BASE), (1.0, BASE + DELTAS.mean(0))):
        by = GatedRows(length)
        assert torch.equal(by.merged("w", BASE, DELTAS, by.start({"w": (2, 2)}, 2)), begins)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 2, 2, 2)])
def test_rows_that_are_all_alike_are_a_tensor_of_one_gate(shape: tuple[int, ...]):
    base, deltas = torch.randn(shape), torch.randn(2, *shape)
    gate, offset, length = torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.7]), torch.tensor([1.3])
    whole = Gated(offsets=True, length=1.0).merged(
        "w", base, deltas, {GATE: gate, "offset:w": offset, "length:w": length}
    )
    numbers = GatedRows().start({"w": shape}, 2)
    rows = {
        GATE: gate,
        "offset:w": torch.zeros_like(numbers["offset:w"]) + offset.reshape(2, *[1] * len(shape[:1])),
        "length:w": torch.zeros_like(numbers["length:w"]) + length[0],
    }
    torch.testing.assert_close(GatedRows().merged("w", base, deltas, rows), whole)
    assert sum(one.numel() for one in numbers.values()) == 2 + 3 * math.prod(shape[:1])


def test_it_learns_a_mixture_that_differs_from_row_to_row():
    """The first row is to be the first expert's, the second the second's: no gate for the whole tensor can do that."""

    class Distance:
        needs = frozenset[str]()

        def __call__(self, told: Told, batch: Batch, shares: torch.Tensor) -> torch.Tensor:
            assert batch.right is not None
            return (told.logits - batch.right).square().mean()

    wanted = torch.stack([(BASE + DELTAS[0])[0], (BASE + DELTAS[1])[1]])
    left: dict[str, float] = {}
    for name, by in (("rows", GatedRows(0.0)), ("tensor", Gated(offsets=True, length=0.0))):
        module = torch.nn.Linear(2, 2, bias=False)
        task = Task("task", module, [Batch(torch.eye(2), wanted.T)])
        experts = [{"weight": BASE + delta} for delta in DELTAS]
        learn(module, {"weight": BASE}, experts, [task], by, Distance(), Adam(steps=400, rate=0.1))  # type: ignore[arg-type]
        left[name] = float((module.weight.detach() - wanted).abs().max())
    assert left["rows"] < 0.1 and left["tensor"] > 1


def test_the_gate_is_what_each_has_in_a_vote():
    by = GatedRows()
    numbers = by.start({"w": (2, 2)}, 2) | {GATE: torch.tensor([math.log(3), 0.0])}
    torch.testing.assert_close(by.shares(numbers), torch.tensor([0.75, 0.25]))
