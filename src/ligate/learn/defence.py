"""Masks learned while somebody searches for inputs that make the merge say something else: merging under attack."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ligate.core.errors import InputError

from .bilevel import Bilevel
from .gradient import Course, Keep, Problem, Task
from .objectives import Told

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHIFT = "shift:"


@dataclass(frozen=True)
class Defended(Bilevel):
    r"""Two levels, and an adversary: for each task one shift of all its inputs, that is to change the merge's answers.

    .. math::
        \delta \leftarrow \delta + \mathrm{Adam}\left(\nabla_\delta\,
        \mathrm{CE}(f(x + \delta), \arg\max f(x))\right)

    In each step the coefficients take their step, then the shifts theirs against the merge, then the mask its own, for
    which every task is asked with and without its shift (`Told.shifted`; the objective `Unmoved` makes use of it). A
    shift goes to the input embeddings of a network that reads tokens, the same for each token, and to the numbers that
    come in where there is no table of embeddings. It takes no step longer than `attack_rate` in any direction, so in n
    steps it is within n times that.

    Args:
        attack_rate: of the shifts.
    Source: DAM, arXiv 2410.13910, as in tanganke/fusion_bench (clip_safe_concrete_*).
    Differs: a reconstruction. The paper has two masks that are learned in turns, its code a single one, which is what
        this follows. The code cuts shifted pixels, which are standardised, to [0, 1]; nothing is cut here. Shifts of
        embeddings are ours. What is kept is the last mask, as there: what the looks tell depends on how far the
        adversary has come.
    """

    attack_rate: float = 1e-4
    keep: Keep = "last"
    asks = 3

    def begin(self, problem: Problem) -> Course:
        course = super().begin(problem)
        shifts = {f"{_SHIFT}{task.name}": _nowhere(problem.module, task) for task in problem.tasks}
        adversary = torch.optim.Adam(shifts.values(), lr=self.attack_rate, maximize=True)
        return replace(course, optimizers=[*course.optimizers, adversary], own={**course.own, **shifts})

    def step(self, problem: Problem, course: Course) -> float:
        loss = self.inwards(problem, course)
        if not math.isfinite(loss):
            return loss
        problem.merge.write(course.numbers, course.step)
        self.attack(problem, course)
        under = [_attacked(problem.module, task, course.own[f"{_SHIFT}{task.name}"]) for task in problem.tasks]
        return self.outwards(replace(problem, tasks=under), course)

    def attack(self, problem: Problem, course: Course) -> None:
        """The shifts' step, against the merge as it stands in the module."""
        for task in problem.tasks:
            batch = task.learning[self.turn(course, 2) % len(task.learning)]
            with torch.no_grad():
                says = task.told(batch).logits.argmax(-1)
            shift = course.own[f"{_SHIFT}{task.name}"]
            with shifted(problem.module, shift):
                moved = torch.nn.functional.cross_entropy(task.told(batch).logits, says)
            (shift.grad,) = torch.autograd.grad(moved, [shift])
        course.optimizers[2].step()


@contextmanager
def shifted(module: nn.Module, shift: Tensor) -> Generator[None]:
    """While it lasts, `shift` is added to what the module reads."""
    table = embeddings(module)
    with hooked(table, module, lambda read: read + shift):
        yield


def embeddings(module: nn.Module) -> nn.Embedding | None:
    """The table of input embeddings; None where the module reads numbers."""
    named = getattr(module, "get_input_embeddings", None)
    table = named() if callable(named) else None
    if table is None:
        table = next((each for each in module.modules() if isinstance(each, torch.nn.Embedding)), None)
    return table if isinstance(table, torch.nn.Embedding) else None


@contextmanager
def hooked(table: nn.Embedding | None, module: nn.Module, change: Callable[[Tensor], Tensor]) -> Generator[None]:
    """While it lasts, what the table says, or else the first numbers that the module is called with, are changed."""

    def after(_: nn.Module, __: Any, said: Tensor) -> Tensor:
        return change(said)

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for place, one in enumerate(given):
            if _numbers(one):
                return (*given[:place], change(one), *given[place + 1 :]), named
        key = next((key for key, one in named.items() if _numbers(one)), None)
        if key is None:
            raise InputError("the network reads no numbers, and has no table of embeddings", where="learn",
                             hint="an adversary needs something that it can shift a little.")  # fmt: skip
        return given, {**named, key: change(named[key])}

    hook = (
        module.register_forward_pre_hook(before, with_kwargs=True)
        if table is None
        else table.register_forward_hook(after)
    )
    try:
        yield
    finally:
        hook.remove()


def _numbers(one: Any) -> bool:
    return isinstance(one, torch.Tensor) and one.is_floating_point()


def _nowhere(module: nn.Module, task: Task) -> Tensor:
    """A shift of zero, of the size of one token's embedding or of one example."""
    table, read = embeddings(module), list[torch.Tensor]()

    def noted(one: Tensor) -> Tensor:
        read.append(one)
        return one

    with torch.no_grad(), hooked(table, module, noted):
        task.ask(task.learning[0].inputs)
    if not read:
        raise InputError("the module was not asked", where=f"task {task.name}", hint="`ask` has to call it.")
    shape = read[0].shape[-1:] if table is not None else read[0].shape[1:]
    return torch.zeros(shape, requires_grad=True)


def _attacked(module: nn.Module, task: Task, shift: Tensor) -> Task:
    """The task asked twice, the second time with its shift, which does not learn from that."""

    def ask(inputs: Any) -> Told:
        plain = task.ask(inputs)
        told = plain if isinstance(plain, Told) else Told(plain)
        with shifted(module, shift.detach()):
            again = task.ask(inputs)
        return told._replace(shifted=again.logits if isinstance(again, Told) else again)

    return task._replace(ask=ask)
