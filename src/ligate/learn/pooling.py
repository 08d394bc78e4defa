"""Every task asked about the inputs of all tasks: one pass of the network serves all heads.

Experts know more than what the inputs of their own tasks show. Asked about the inputs of the others as well, each
teaches on as many inputs as all tasks together have, at the cost of one. What a head says of its own task's inputs
counts as much as all else together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .gradient import Task
from .objectives import Batch, Told

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN = -100


class Known(NamedTuple):
    """An example of the task of number `task`, and its right class, if anybody knows it."""

    example: Any
    task: int
    right: int = UNKNOWN


def pooled(
    experts: Mapping[str, int | None],
    ask: Callable[[Any], Mapping[str, Tensor]],
    inputs: Callable[[Sequence[Any]], Any],
    learning: Sequence[Known],
    stopping: Sequence[Known],
    size: int,
) -> Task:
    """One task that stands for all.

    Args:
        experts: which of the experts was trained for each task, by the tasks' names, in order.
        ask: inputs -> the logits of every task.
        inputs: examples -> what `ask` takes.
        size: examples in a batch. They are mixed once, the same way every time.

    Batches have labels if any example has one.
    """
    labelled = any(one.right >= 0 for one in (*learning, *stopping))

    def told(asked: Any) -> Told:
        said = ask(asked)
        answers = [said[name] for name in experts]
        return Told(torch.cat(answers, -1), heads=tuple(one.shape[-1] for one in answers))

    def batches(half: Sequence[Known]) -> Iterator[Batch]:
        mixed = list(half)
        random.Random(0).shuffle(mixed)
        for start in range(0, len(mixed), size):
            some = mixed[start : start + size]
            right = _right(some, len(experts)) if labelled else None
            yield Batch(inputs([one.example for one in some]), right, own=torch.tensor([one.task for one in some]))

    return Task("all tasks", told, [*batches(learning)], [*batches(stopping)], tuple(experts.values()))


def _right(some: Sequence[Known], tasks: int) -> Tensor:
    """[N, tasks]: what is right is known for an example's own task at most."""
    found = torch.full((len(some), tasks), UNKNOWN)
    for row, one in zip(found, some, strict=True):
        row[one.task] = one.right
    return found
