"""Merges learned by gradient, for any torch module: the third of the three choices.

Each step (1) writes the merge of the present numbers into the module, tensor by tensor, (2) asks it a batch of every
task and lets the loss flow back to its weights, (3) carries each weight's gradient to the numbers by the
vector-Jacobian product of that tensor's merge, with the experts streamed once more. So the memory is that of the
module, its gradients and one tensor of all experts, whatever their number; of a mask, that of the mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import InputError

from .parametrisations import Numbers, Parametrisation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .objectives import Objective

Weights = Mapping[str, "Tensor"]
"""Name -> tensor; may read from disk when asked."""


class Batch(NamedTuple):
    """Examples of one task: whatever the task's `ask` takes, and the right classes if they are known."""

    inputs: object
    right: Tensor | None = None
    expert: Tensor | None = None


class Task(NamedTuple):
    """One of the tasks that the merge is to do.

    Args:
        ask: inputs -> logits [N, C], by the module with whatever weights it has.
        learning: batches to learn from, in turn; `stopping`: batches that decide when to stop.
    """

    name: str
    ask: Callable[[object], Tensor]
    learning: Sequence[Batch]
    stopping: Sequence[Batch] = ()


@dataclass(frozen=True)
class Adam:
    """Adam, arXiv 1412.6980. Every `look` steps the stopping batches are asked; the best numbers are kept, and after
    `patience` looks without a better one it ends."""

    steps: int = 500
    rate: float = 1e-3
    look: int = 25
    patience: int = 8


class Look(NamedTuple):
    """Means over what was asked since the last look, and on the stopping batches."""

    step: int
    learning: float
    stopping: float


@dataclass(frozen=True)
class Learned:
    """The numbers of the best look, and how they came about. `ended` says why it stopped before the last step."""

    numbers: Numbers
    curve: Sequence[Look]
    ended: str = ""

    @property
    def scalars(self) -> int:
        """How many numbers were learned."""
        return sum(one.numel() for one in self.numbers.values())


def learn(
    module: nn.Module,
    base: Weights,
    experts: Sequence[Weights],
    tasks: Sequence[Task],
    parametrisation: Parametrisation,
    objective: Objective,
    solver: Adam = Adam(),
) -> Learned:
    """The numbers with which the merge does best on the tasks, each task counting the same.

    The module is left with the merge of these numbers. Only its parameters are merged; its buffers stay.

    Raises:
        InputError: there is nothing to learn from, a task lacks what the objective needs, or a tensor is missing.
    """
    _require(tasks, objective, base, experts, module)
    names = dict(module.named_parameters())
    numbers = parametrisation.start({name: one.shape for name, one in names.items()}, len(experts))
    for one in numbers.values():
        one.requires_grad_(True)
    optimizer = torch.optim.Adam(list(numbers.values()), lr=solver.rate)
    merge = _Merge(names, base, experts, parametrisation)
    curve: list[Look] = []
    best, ended = {name: one.detach().clone() for name, one in numbers.items()}, ""
    lowest, since, told = math.inf, 0, []
    for step in range(solver.steps + 1):
        merge.write(numbers)
        if step % solver.look == 0 or step == solver.steps:
            found = Look(step, _mean(told), _asked(module, tasks, objective))
            curve.append(found)
            told = []
            since = 0 if found.stopping < lowest else since + 1
            if found.stopping < lowest:
                lowest, best = found.stopping, {name: one.detach().clone() for name, one in numbers.items()}
            if since > solver.patience or step == solver.steps:
                ended = "no longer better on the stopping batches" if since > solver.patience else ""
                break
        loss = _loss(module, tasks, objective, step)
        if not math.isfinite(loss):
            ended = f"the loss became {loss} in step {step}"
            break
        told.append(loss)
        optimizer.zero_grad()
        merge.carry(numbers)
        optimizer.step()
    merge.write(best)
    return Learned(best, curve, ended)


class _Merge:
    """The module's weights as a function of the numbers."""

    def __init__(
        self, parameters: Mapping[str, Tensor], base: Weights, experts: Sequence[Weights], by: Parametrisation
    ) -> None:
        self._parameters, self._base, self._experts, self._by = parameters, base, experts, by

    def write(self, numbers: Numbers) -> None:
        with torch.no_grad():
            for name, one, base, deltas in self._tensors():
                one.copy_(self._by.merged(name, base, deltas, numbers))
                one.grad = None

    def carry(self, numbers: Numbers) -> None:
        """From the gradients of the weights to those of the numbers, which add up."""
        for name, one, base, deltas in self._tensors():
            if one.grad is not None:
                self._by.merged(name, base, deltas, numbers).backward(one.grad.to(base.dtype))

    def _tensors(self) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        for name, one in self._parameters.items():
            base = self._base[name].float()
            yield name, one, base, torch.stack([each[name].float() - base for each in self._experts])


def _loss(module: nn.Module, tasks: Sequence[Task], objective: Objective, step: int) -> float:
    """One batch of every task, and the gradients of their mean."""
    total = 0.0
    for task in tasks:
        batch = task.learning[step % len(task.learning)]
        loss = objective(task.ask(batch.inputs), batch.right, batch.expert) / len(tasks)
        loss.backward()
        total += float(loss.detach())
    return total


def _asked(module: nn.Module, tasks: Sequence[Task], objective: Objective) -> float:
    with torch.no_grad():
        each = [
            _mean([float(objective(task.ask(batch.inputs), batch.right, batch.expert)) for batch in batches])
            for task in tasks
            for batches in [task.stopping or task.learning]
        ]
    return _mean(each)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _require(
    tasks: Sequence[Task], objective: Objective, base: Weights, experts: Sequence[Weights], module: nn.Module
) -> None:
    if not tasks or not all(task.learning for task in tasks):
        empty = next((task.name for task in tasks if not task.learning), "")
        raise InputError("there is nothing to learn from", where=f"task {empty}" if empty else "learn",
                         hint="give at least one batch of every task.")  # fmt: skip
    for task in tasks:
        for batch in (*task.learning, *task.stopping):
            if objective.needs == "labels" and batch.right is None:
                raise InputError("a batch has no labels", where=f"task {task.name}",
                                 hint="this objective needs them; `Entropy` and `Agreement` do not.")  # fmt: skip
            if objective.needs == "experts" and batch.expert is None:
                raise InputError("a batch lacks its expert's logits", where=f"task {task.name}",
                                 hint="ask the experts first: `taught`.")  # fmt: skip
    for name, one in module.named_parameters():
        for index, weights in enumerate((base, *experts)):
            if name not in weights or weights[name].shape != one.shape:
                which = "the base" if index == 0 else f"expert {index}"
                raise InputError(f"{which} has no tensor {name} of shape {list(one.shape)}", where=f"tensor {name}",
                                 hint="all models must have the module's parameters.")  # fmt: skip


def taught(module: nn.Module, experts: Sequence[Weights], tasks: Sequence[Task]) -> list[Task]:
    """The tasks with the logits of their own experts in every batch: expert i answers task i."""
    parameters = dict(module.named_parameters())
    found = []
    for task, expert in zip(tasks, experts, strict=True):
        with torch.no_grad():
            for name, one in parameters.items():
                one.copy_(expert[name])
            asked = [[each._replace(expert=task.ask(each.inputs)) for each in side] for side in task[2:]]
        found.append(Task(task.name, task.ask, *asked))
    return found
