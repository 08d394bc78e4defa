"""Merges learned by gradient, for any torch module: the third of the three choices.

Each step (1) writes the merge of the present numbers into the module, tensor by tensor, (2) asks it a batch of every
task and lets the loss flow back to its weights, (3) carries each weight's gradient to the numbers by the
vector-Jacobian product of that tensor's merge, with the experts streamed once more. So the memory is that of the
module, its gradients and one tensor of all experts, whatever their number; of a mask, that of the mask. Small experts
are streamed from a temporary file of their deltas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from ligate.core.errors import InputError

from .masks import Held
from .merging import Merge, Weights
from .objectives import Batch, Told, by_head, of_examples
from .parametrisations import Numbers, Parametrisation

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from .objectives import Objective, Prior

Keep = Literal["best", "last"]
_ROOM = 2_000_000_000  # bytes of deltas in a temporary file


class Task(NamedTuple):
    """One of the tasks that the merge is to do.

    Args:
        ask: inputs -> logits [N, C], or `Told`, by the module with whatever weights it has.
        learning: batches to learn from, in turn; `stopping`: batches that decide when to stop.
        expert: which of the experts was trained for it, counted from 0; None: none was, or all were. One for each of
            the heads, where `ask` asks several of the same examples: then every expert teaches on all examples.
        weight: how much its loss counts; a task of negative weight is to be forgotten.
    """

    name: str
    ask: Callable[[Any], Tensor | Told]
    learning: Sequence[Batch]
    stopping: Sequence[Batch] = ()
    expert: int | tuple[int | None, ...] | None = None
    weight: float = 1.0

    @property
    def experts(self) -> tuple[int | None, ...]:
        """Of every head."""
        return self.expert if isinstance(self.expert, tuple) else (self.expert,)

    def told(self, batch: Batch) -> Told:
        answer = self.ask(batch.inputs)
        return answer if isinstance(answer, Told) else Told(answer)


@dataclass(frozen=True)
class Adam:
    """Adam, arXiv 1412.6980. Every `look` steps the stopping batches are asked; the best numbers are kept, and after
    `patience` looks without a better one it ends.

    Other solvers are made from it by another `begin`, `step`, `stopping` or `ended`.

    Args:
        decay: decoupled weight decay, AdamW, arXiv 1711.05101.
        clip: the most that the norm of all gradients may be.
        cosine: the rate goes down to zero along a cosine.
        keep: `best`: the numbers of the best look; `last`: those of the last step, whatever the stopping batches say.
    """

    steps: int = 500
    rate: float = 1e-3
    look: int = 25
    patience: int = 8
    decay: float = 0.0
    clip: float | None = None
    cosine: bool = False
    keep: Keep = "best"

    def begin(self, problem: Problem) -> Course:
        numbers = problem.merge.start()
        return Course(numbers, [self.optimizer(list(numbers.values()))], copied(numbers))

    def step(self, problem: Problem, course: Course) -> float:
        """One step; its loss. If that is no finite number, nothing was changed."""
        loss = problem.slope(course.numbers, course.step)
        if math.isfinite(loss):
            self.move(course.optimizers[0], course.step)
        return loss

    def stopping(self, problem: Problem, course: Course) -> float:
        """What decides which numbers are the best: less is better. It ends where this is no finite number."""
        return problem.asked(course.numbers)

    def ended(self, course: Course) -> str:
        """Why there are no more steps, if so."""
        look = course.curve[-1]
        if not math.isfinite(look.stopping):
            return f"the loss on the stopping batches became {look.stopping} in step {look.step}"
        if course.since > self.patience:
            return "no longer better on the stopping batches"
        return "all steps are done" if course.step == self.steps else ""

    def optimizer(self, numbers: Sequence[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(numbers, lr=self.rate, weight_decay=self.decay)

    def move(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """The optimizer's numbers along their gradients."""
        for group in optimizer.param_groups:
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(group["params"], self.clip)
            group["lr"] = self.rate_at(step)
        optimizer.step()

    def rate_at(self, step: int) -> float:
        return self.rate * (0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.cosine else 1.0)


class Look(NamedTuple):
    """Means over what was asked since the last look, and on the stopping batches."""

    step: int
    learning: float
    stopping: float


@dataclass(frozen=True)
class Learned:
    """The numbers that were kept, by which parametrisation they make the merge, and how they came about.

    `ended` says why it stopped before the last step; `before` is the stage that came before this one, if any, and
    `after` one that came later and did worse, so that its numbers are not used.
    """

    numbers: Numbers
    by: Parametrisation
    curve: Sequence[Look]
    ended: str = ""
    keep: Keep = "best"
    before: Learned | None = None
    after: Learned | None = None

    @property
    def scalars(self) -> int:
        """How many numbers were learned, in this stage or in one before whose numbers are held."""
        held = self.by.held if isinstance(self.by, Held) else {}
        return sum(one.numel() for one in (*self.numbers.values(), *held.values()))

    @property
    def best(self) -> Look:
        """The look whose numbers these are."""
        return self.curve[-1] if self.keep == "last" else min(self.curve, key=lambda look: look.stopping)


@dataclass
class Course:
    """How far the learning is: all that a checkpoint has to hold."""

    numbers: dict[str, Tensor]
    optimizers: Sequence[torch.optim.Optimizer]
    best: dict[str, Tensor]
    step: int = 0
    curve: list[Look] = field(default_factory=list)
    told: list[float] = field(default_factory=list)  # losses since the last look
    since: int = 0  # looks since the best one
    own: dict[str, Tensor] = field(default_factory=dict[str, "Tensor"])  # of the solver

    def state(self) -> dict[str, Any]:
        return {"numbers": fixed(self.numbers), "own": fixed(self.own), "best": self.best,
                "optimizers": [each.state_dict() for each in self.optimizers], "step": self.step,
                "curve": [tuple(look) for look in self.curve], "since": self.since}  # fmt: skip

    def resume(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for mine, held in ((self.numbers, state["numbers"]), (self.own, state["own"])):
                for name, one in mine.items():
                    one.copy_(held[name])
        for each, held in zip(self.optimizers, state["optimizers"], strict=True):
            each.load_state_dict(held)
        self.best, self.step, self.since = state["best"], state["step"], state["since"]
        self.curve = [Look(*look) for look in state["curve"]]

    def to_look(self, solver: Adam) -> bool:
        looked = bool(self.curve) and self.curve[-1].step == self.step
        return not looked and (self.step % solver.look == 0 or self.step == solver.steps)

    def look(self, stopping: float, keep: str) -> None:
        better = keep == "last" or not self.curve or stopping < min(look.stopping for look in self.curve)
        self.curve.append(Look(self.step, _mean(self.told), stopping))
        self.told, self.since = [], 0 if better else self.since + 1
        if better:
            self.best = copied(self.numbers)


def learn(
    module: nn.Module,
    base: Weights,
    experts: Sequence[Weights],
    tasks: Sequence[Task],
    parametrisation: Parametrisation,
    objective: Objective,
    solver: Adam = Adam(),
    *,
    prior: Prior | None = None,
    kept: Path | None = None,
    tell: Callable[[Look], None] = lambda look: None,
) -> Learned:
    """The numbers with which the merge does best on the tasks, each task counting by its weight.

    The module is left with the merge of these numbers. Only its parameters are merged; its buffers stay. With `kept`
    every look is written to that file, and a learning that was stopped goes on from there.

    Raises:
        InputError: there is nothing to learn from, a task lacks what the objective needs, or a tensor is missing.
    """
    require(tasks, objective)
    merge = Merge(module, base, experts, parametrisation, _ROOM)
    problem = Problem(module, merge, tasks, parametrisation, objective, prior)
    course = solver.begin(problem)
    if kept is not None and kept.is_file():
        course.resume(torch.load(kept, weights_only=True))
    ended = ""
    while not ended:
        if course.to_look(solver):
            course.look(solver.stopping(problem, course), solver.keep)
            tell(course.curve[-1])
            if kept is not None:
                save_whole(course.state(), kept)
        ended = solver.ended(course) or _step(problem, course, solver)
    problem.merge.write(course.best)
    ended = "" if course.step == solver.steps else ended
    return Learned(course.best, parametrisation, course.curve, ended, solver.keep)


@dataclass(frozen=True)
class Problem:
    """What stays the same in all steps."""

    module: nn.Module
    merge: Merge
    tasks: Sequence[Task]
    parametrisation: Parametrisation
    objective: Objective
    prior: Prior | None = None

    def asked(self, numbers: Numbers) -> float:
        """The loss on the stopping batches."""
        self.merge.write(numbers)
        with torch.no_grad():
            own = 0.0 if self.prior is None else float(self.prior(numbers))
            return asked(self.tasks, self.objective, self.parametrisation.shares(numbers)) + own

    def slope(self, numbers: Numbers, step: int, batch: int | None = None) -> float:
        """The loss on one batch of every task, number `step` if no other is named, and its gradients in the numbers."""
        self.merge.write(numbers, step)
        for one in numbers.values():
            one.grad = None
        turn = step if batch is None else batch
        loss = backward(self.tasks, self.objective, lambda: self.parametrisation.shares(numbers), turn)
        if not math.isfinite(loss):
            return loss
        self.merge.carry(numbers, step)
        if self.prior is None:
            return loss
        own = self.prior(numbers)
        if own.requires_grad:
            own.backward()
        return loss + float(own.detach())


def fixed(numbers: Numbers) -> dict[str, Tensor]:
    """The same numbers, which no gradient reaches."""
    return {name: one.detach() for name, one in numbers.items()}


def copied(numbers: Numbers) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in numbers.items()}


def _step(problem: Problem, course: Course, solver: Adam) -> str:
    """One step; why there can be no more, if so."""
    loss = solver.step(problem, course)
    if not math.isfinite(loss):
        return f"the loss became {loss} in step {course.step}"
    course.told.append(loss)
    course.step += 1
    return ""


def backward(tasks: Sequence[Task], objective: Objective, shares: Callable[[], Tensor], step: int) -> float:
    """One batch of every task: the mean of the losses, and its gradients in the module's weights and the shares."""
    total = 0.0
    for task, weight in _weighted(tasks):
        batch = task.learning[step % len(task.learning)]
        loss = weight * loss_of(objective, task.told(batch), batch, shares())
        if loss.requires_grad:  # what has nothing to say of a batch is 0
            loss.backward()
        total += float(loss.detach())
    return total


def loss_of(objective: Objective, told: Told, batch: Batch, shares: Tensor) -> Tensor:
    """Where several heads are asked: one half of it of all heads and examples, the other of each example's own head."""
    heads = [*by_head(told, batch)]
    everywhere = torch.stack([objective(one, known, shares) for one, known in heads]).mean()
    if told.heads is None or batch.own is None:
        return everywhere
    mine = [batch.own == number for number in range(len(heads))]
    own = [
        objective(*of_examples(one, known, rows), shares) * rows.float().mean()
        for (one, known), rows in zip(heads, mine, strict=True)
        if rows.any()
    ]
    return (everywhere + torch.stack(own).sum()) / 2


def asked(tasks: Sequence[Task], objective: Objective, shares: Tensor) -> float:
    """The loss on the stopping batches; on those of the learning where a task has none."""
    total = 0.0
    with torch.no_grad():
        for task, weight in _weighted(tasks):
            batches = task.stopping or task.learning
            total += weight * _mean([float(loss_of(objective, task.told(batch), batch, shares)) for batch in batches])
    return total


def _weighted(tasks: Sequence[Task]) -> list[tuple[Task, float]]:
    """What each task counts in the mean over all."""
    whole = sum(abs(task.weight) for task in tasks)
    return [(task, task.weight / whole) for task in tasks]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def save_whole(state: Mapping[str, Any], path: Path) -> None:
    """A file of tensors and plain data that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.partial")
    torch.save(dict(state), beside)
    beside.replace(path)


def require(tasks: Sequence[Task], objective: Objective) -> None:
    """Raises InputError where there is nothing to learn from, or a batch lacks what the objective needs."""
    if not tasks or not all(task.learning for task in tasks):
        empty = next((task.name for task in tasks if not task.learning), "")
        raise InputError("there is nothing to learn from", where=f"task {empty}" if empty else "learn",
                         hint="give at least one batch of every task.")  # fmt: skip
    for task in tasks:
        for batch in (*task.learning, *task.stopping):
            if "labels" in objective.needs and batch.right is None:
                raise InputError("a batch has no labels", where=f"task {task.name}",
                                 hint="this objective needs them; `Entropy` and `Agreement` do not.")  # fmt: skip
            if ("expert" in objective.needs and batch.expert is None) or (
                "everyone" in objective.needs and batch.everyone is None
            ):
                raise InputError("a batch lacks what the experts say", where=f"task {task.name}",
                                 hint="ask the experts first: `taught`.")  # fmt: skip
        if "everyone" in objective.needs and isinstance(task.expert, tuple):
            raise InputError("votes are taken task by task, not of all heads at once", where=f"task {task.name}",
                             hint="give each task for itself.")  # fmt: skip


def taught(
    module: nn.Module, experts: Sequence[Weights], tasks: Sequence[Task], needs: frozenset[str] = frozenset({"expert"})
) -> list[Task]:
    """The tasks with what the experts say of every batch: `expert` its own one, `everyone` all of them.

    Raises:
        InputError: the task's own expert is to be asked, and the task has none.
    """
    parameters = dict(module.named_parameters())
    found = list(tasks)
    for index, expert in enumerate(experts):
        if "everyone" not in needs and all(index not in task.experts for task in tasks):
            continue
        with torch.no_grad():
            for name, one in parameters.items():
                one.copy_(expert[name])
            found = [_with_answers(task, index, len(experts), needs) for task in found]
    orphan = next((task.name for task in tasks if None in task.experts), None)
    if "expert" in needs and orphan is not None:
        raise InputError("no expert was trained for this task", where=f"task {orphan}",
                         hint="name the expert, or take an objective that asks all of them.")  # fmt: skip
    return found


def _with_answers(task: Task, index: int, count: int, needs: frozenset[str]) -> Task:
    """With what the module, being expert `index` now, says."""

    def answered(batch: Batch) -> Batch:
        if "everyone" not in needs and index not in task.experts:
            return batch
        told = task.told(batch)
        if "everyone" in needs:
            room = told.logits.new_empty(count, *told.logits.shape) if batch.everyone is None else batch.everyone
            room[index] = told.logits
            batch = batch._replace(everyone=room)
        if index not in task.experts:
            return batch
        return batch._replace(expert=_with_heads(batch.expert, told, task.experts, index))

    return task._replace(learning=[*map(answered, task.learning)], stopping=[*map(answered, task.stopping)])


def _with_heads(known: Told | None, told: Told, experts: Sequence[int | None], index: int) -> Told:
    """What the experts before this one have said, and this one under its own heads."""
    if known is None or told.heads is None:
        return told
    pairs = zip(experts, known.logits.split(told.heads, 1), told.logits.split(told.heads, 1), strict=True)
    return known._replace(logits=torch.cat([new if expert == index else old for expert, old, new in pairs], 1))
