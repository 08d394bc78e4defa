"""A merge learned with triggers in sight that were found in its experts: what forced one of them is not to force it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .defence import embeddings, hooked
from .gradient import Adam, Course, Problem, Task
from .objectives import Told
from .triggers import Change, Looking, change_of, triggers

if TYPE_CHECKING:
    from torch import Tensor, nn

_TRIGGER = "trigger:"


@dataclass(frozen=True)
class Guarded(Adam):
    """Before the first step triggers are looked for in each expert (`triggers`). Those of a suspicion below
    `suspicious` are shown in all steps and looks, in turn, in the inputs of every task (`Told.shifted`; the objective
    `Unmoved` asks for the answers without them). Where none is found it is `Adam`.

    Nothing is known of the attack but that it is a small change: some numbers of an input, or one token of a text.

    Args:
        search: steps of the search for each class, `search_rate` its rate, `price` that of size.
    """

    suspicious: float = 0.6
    search: int = 60
    search_rate: float = 0.1
    price: float = 0.1

    def begin(self, problem: Problem) -> Course:
        course = super().begin(problem)
        return replace(course, own=self.found(problem))

    def found(self, problem: Problem) -> dict[str, Tensor]:
        """The numbers of the triggers that are suspicious, by name."""
        how = Looking(self.search, self.search_rate, self.price)
        known = triggers(
            problem.module, problem.merge.put, problem.tasks, how, change_of(problem.module, problem.tasks)
        )
        return {f"{_TRIGGER}{one.task}:{one.target}": one.z for one in known if one.suspicion < self.suspicious}

    def step(self, problem: Problem, course: Course) -> float:
        return super().step(self._shown(problem, course), course)

    def stopping(self, problem: Problem, course: Course) -> float:
        return super().stopping(self._shown(problem, course), course)

    def _shown(self, problem: Problem, course: Course) -> Problem:
        known = list(course.own.values())
        if not known:
            return problem
        change = change_of(problem.module, problem.tasks)
        tasks = [shown(problem.module, task, known[course.step % len(known)], change) for task in problem.tasks]
        return replace(problem, tasks=tasks)


def shown(module: nn.Module, task: Task, z: Tensor, change: Change) -> Task:
    """The task asked twice, the second time with the trigger."""

    def ask(inputs: Any) -> Told:
        plain = task.ask(inputs)
        told = plain if isinstance(plain, Told) else Told(plain)
        with hooked(embeddings(module), module, lambda read: change.changed(read, z)):
            again = task.ask(inputs)
        return told._replace(shifted=again.logits if isinstance(again, Told) else again)

    return task._replace(ask=ask)
