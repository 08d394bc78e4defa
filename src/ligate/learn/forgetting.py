"""Merges that are to be worse at something: tasks of negative weight are forgotten, the others have to stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ligate.core.errors import InputError

from .gradient import Adam, Course, Problem, copied

if TYPE_CHECKING:
    from .gradient import Task


@dataclass(frozen=True)
class Forgetting(Adam):
    """Adam that keeps the numbers with the fewest right answers in the tasks of negative weight.

    It ends where one of the other tasks has fewer right answers than `floor` times what it had before anything was
    learned. So a look's `stopping` is the share of right answers in what is to be forgotten.

    Source: task negation of aTLAS, arXiv 2407.02880 (`--control-threshold`).
    """

    floor: float = 0.95

    def begin(self, problem: Problem) -> Course:
        """
        Raises:
            InputError: nothing is to be forgotten, or nothing to stay, or answers are not known to be right.
        """
        signs = {task.weight < 0 for task in problem.tasks}
        if signs != {True, False}:
            raise InputError("one task at least must have a negative weight, and one a positive", where="learn",
                             hint="`weight: -1` for what is to be forgotten.")  # fmt: skip
        numbers = problem.merge.start()
        problem.merge.write(numbers)
        before = torch.tensor([right(task) for task in problem.tasks])
        return Course(numbers, [self.optimizer([*numbers.values()])], copied(numbers), own={"right before": before})

    def stopping(self, problem: Problem, course: Course) -> float:
        problem.merge.write(course.numbers)
        now = [right(task) for task in problem.tasks]
        floors = (self.floor * course.own["right before"]).tolist()
        pairs = list(zip(problem.tasks, now, floors, strict=True))
        if any(share < floor for task, share, floor in pairs if task.weight > 0):
            return math.inf
        return _mean([share for task, share, _ in pairs if task.weight < 0])

    def ended(self, course: Course) -> str:
        if math.isinf(course.curve[-1].stopping):
            return f"a task that was to stay fell below {self.floor} of what it was, in step {course.curve[-1].step}"
        return super().ended(course)


def right(task: Task) -> float:
    """The share of right answers on the stopping batches; on those of the learning where there are none."""
    hits: list[bool] = []
    with torch.no_grad():
        for batch in task.stopping or task.learning:
            if batch.right is None:
                raise InputError("a batch has no labels", where=f"task {task.name}", hint="they count right answers.")
            hits += (task.told(batch).logits.argmax(-1) == batch.right).flatten().tolist()
    return _mean(hits)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
