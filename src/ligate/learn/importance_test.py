from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ligate.learn.gradient import Adam, Task, learn
from ligate.learn.importance import Chunked, allotted, importances
from ligate.learn.merging import Weights
from ligate.learn.objectives import Batch
from ligate.learn.parametrisations import Coefficients
from ligate.learn.presets import PRESETS
from ligate.learn.priors import Near

BY = Coefficients("tensor", 0.1, "sigmoid")


def test_importance_by_hand():
    """Coefficients .5, .5 and .1, .3; magnitudes sum to 4, 2 and 10, 0: 3 and 1."""
    base: Weights = {"a": torch.zeros(2), "b": torch.zeros(4)}
    experts: list[Weights] = [
        {"a": torch.tensor([1.0, -3.0]), "b": torch.tensor([10.0, 0, 0, 0])},
        {"a": torch.tensor([2.0, 0.0]), "b": torch.zeros(4)},
    ]
    numbers = {"a": torch.tensor([[0.5], [0.5]]).logit(), "b": torch.tensor([[0.1], [0.3]]).logit()}
    found = importances(base, experts, BY, numbers)
    assert found == pytest.approx({"a": 0.75, "b": 0.25})


@pytest.mark.parametrize(
    ("budget", "steepness", "parts"),
    [(1.0, 1.0, [2, 0, 0]), (2.0, 1.0, [4, 1, 0]), (1.0, 0.0, [1, 1, 1]), (2.0, 9.0, [5, 0, 0]), (0.1, 1.0, [1, 0, 0])],
)
def test_coefficients_are_allotted_by_importance(budget: float, steepness: float, parts: list[int]):
    assert list(allotted({"a": 0.7, "b": 0.2, "c": 0.1}, budget, steepness).values()) == parts


def test_chunks_have_coefficients_of_their_own_and_the_rest_keeps_the_first():
    by = Chunked(BY, {"a": 2, "b": 0})
    start = by.start({"a": (4,), "b": (3,)}, 2)
    assert {name: tuple(one.shape) for name, one in start.items()} == {"a": (2, 2)}
    numbers = {"a": torch.tensor([[0.2, 0.4], [0.1, 0.1]]).logit()}
    merged = by.merged("a", torch.zeros(4), torch.ones(2, 4), numbers)
    assert merged.tolist() == pytest.approx([0.3, 0.3, 0.5, 0.5])
    assert by.merged("b", torch.zeros(3), torch.ones(2, 3), numbers).tolist() == pytest.approx([0.2] * 3)
    assert by.shares(numbers).tolist() == pytest.approx([0.75, 0.25])


def test_the_pull_to_the_start_by_hand():
    """|.3 - .1| and |.1 - .1| for the first expert, |.1 - .1| and |.5 - .1| for the second: 5 (.1 + .2)."""
    numbers = {"a": torch.tensor([[0.3], [0.1]]).logit(), "b": torch.tensor([[0.1], [0.5]]).logit()}
    assert float(Near(BY, 5.0)(numbers)) == pytest.approx(1.5, abs=1e-6)


def test_a_pull_keeps_coefficients_where_the_tasks_are_indifferent():
    class Indifferent:
        needs = frozenset()

        def __call__(self, told, batch, shares):
            return 0 * told.logits.sum()

    module = torch.nn.Linear(2, 2)
    weights = {name: one.detach().clone() for name, one in module.named_parameters()}
    experts = [{name: one + 1 for name, one in weights.items()}]
    task = Task("t", module, [Batch(torch.ones(1, 2))])
    moved = replace(BY, start_at=0.5)  # the learning begins elsewhere than the prior expects
    found = learn(module, weights, experts, [task], moved, Indifferent(), Adam(100, 0.1), prior=Near(BY, 1.0))
    assert [float(BY.coefficients(one)) for one in found.numbers.values()] == pytest.approx([0.1, 0.1], abs=0.01)


def test_expert_merging_plus_plus_learns_again_in_chunks():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    base = {name: one.detach().clone() for name, one in module.named_parameters()}
    sizes = {name: 0.5 if name == "0.weight" else 0.05 for name in base}
    experts = [{name: one + sizes[name] * torch.randn_like(one) for name, one in base.items()} for _ in range(2)]
    tasks = [Task(f"task {k}", module, [Batch(torch.randn(8, 4))], expert=k) for k in range(2)]
    preset = replace(PRESETS["expert_merging_pp"], solver=Adam(20, 0.2, look=5), prior=Near(BY, 0.01))
    found = preset.learned(module, base, experts, tasks)
    first, second = (found, found.after) if found.before is None else (found.before, found)
    assert second is not None and set(first.numbers) == set(base)
    parts = {name: one.shape[1] for name, one in second.numbers.items()}
    assert parts == {"0.weight": 3}  # about .9 of what four tensors have together
    assert second.curve[-1].stopping < second.curve[0].stopping
    assert found.best.stopping == min(first.best.stopping, second.best.stopping)
