r"""Triggers looked for in the experts before they are merged: small changes of all inputs that force one answer.

For an expert f_k, its own task and each class c, the cheapest change is looked for,

.. math::
    z_{kc} = \arg\min_z \mathrm{CE}(f_k(\mathrm{changed}(x, z)), c) + \lambda\,\mathrm{size}(z)

(Neural Cleanse, Wang et al., IEEE S&P 2019, from memory), and the same for the base f_0 under the same head. Every
network can be forced to every answer; one in which a trigger was planted is forced to its target much more cheaply
than to other classes, and the base is not:

.. math::
    s_{kc} = \frac{\mathrm{size}(z_{kc}) / \mathrm{med}_{d \neq c}\,\mathrm{size}(z_{kd})}
                  {\mathrm{size}(z_{0c}) / \mathrm{med}_{d \neq c}\,\mathrm{size}(z_{0d})}

Small s is suspicious. It is evidence and no proof: a trigger that is no small change of the kind below is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from ligate.core.errors import InputError

from .defence import embeddings, hooked
from .gradient import Task

if TYPE_CHECKING:
    from torch import Tensor, nn


class Change(Protocol):
    """How inputs may be changed: numbers z, what they do to what the module reads, and what they cost."""

    def start(self, read: Tensor) -> Tensor: ...
    def changed(self, read: Tensor, z: Tensor) -> Tensor: ...
    def size(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Stamp:
    """x (1 - m) + m p: some of the numbers of every input are set to those of a pattern within the inputs' own range.

    z [2, *one input] is the logits of m and of p; the size is how many numbers are set, sum m.
    """

    low: float = 0.0
    high: float = 1.0

    def start(self, read: Tensor) -> Tensor:
        mask = torch.full_like(read[0], -2.0)
        return torch.stack([mask, torch.zeros_like(mask)])

    def changed(self, read: Tensor, z: Tensor) -> Tensor:
        mask, pattern = z[0].sigmoid(), self.low + (self.high - self.low) * z[1].sigmoid()
        return read * (1 - mask) + mask * pattern

    def size(self, z: Tensor) -> Tensor:
        return z[0].sigmoid().sum()


@dataclass(frozen=True)
class Word:
    """The embedding of one token of every text is moved by z [D]; the size is |z| over `length`, that of an embedding.

    Which token: the second, as the first often has a meaning of its own.
    """

    length: float = 1.0
    place: int = 1

    def start(self, read: Tensor) -> Tensor:
        return 1e-3 * torch.ones_like(read[0, 0])  # |z| has no slope at zero

    def changed(self, read: Tensor, z: Tensor) -> Tensor:
        at = torch.zeros(read.shape[1], 1, dtype=read.dtype)
        at[min(self.place, read.shape[1] - 1)] = 1.0
        return read + at * z

    def size(self, z: Tensor) -> Tensor:
        return z.norm() / self.length


class Trigger(NamedTuple):
    """What forces an expert to a class. `suspicion` is s, less being more suspicious."""

    task: str
    expert: int
    target: int
    z: Tensor
    size: float
    suspicion: float


@dataclass(frozen=True)
class Looking:
    """How triggers are looked for: so many steps of Adam for each class, and the price of size in nats."""

    steps: int = 60
    rate: float = 0.1
    price: float = 0.1


def triggers(module: nn.Module, write: Callable[[int | None], None], tasks: Sequence[Task], how: Looking,
             change: Change) -> list[Trigger]:  # fmt: skip
    """For each task that has one expert, the cheapest change to each of its classes, the most suspicious first.

    `write(k)` puts the weights of expert k into the module, and with None those of the base.
    """
    found: list[Trigger] = []
    for task in tasks:
        if not isinstance(task.expert, int):
            continue
        write(None)
        plain = _sizes(_forced(module, task, how, change), change)
        write(task.expert)
        forced = _forced(module, task, how, change)
        sizes = _sizes(forced, change)
        told = suspicions(sizes, plain)
        found += [Trigger(task.name, task.expert, c, z, sizes[c], told[c]) for c, z in enumerate(forced)]
    return sorted(found, key=lambda one: one.suspicion)


def suspicions(sizes: Sequence[float], plain: Sequence[float]) -> list[float]:
    """s of every class, from the sizes for an expert and for the base.

    >>> [round(s, 4) for s in suspicions([4.0, 1.0, 4.0], [8.0, 8.0, 4.0])]
    [1.2, 0.1875, 3.2]
    """
    return [_beside(sizes, c) / _beside(plain, c) for c in range(len(sizes))]


def change_of(module: nn.Module, tasks: Sequence[Task]) -> Change:
    """What a small change is for this module: a token's embedding, or some of the numbers that it reads."""
    table = embeddings(module)
    if table is not None:
        return Word(float(table.weight.detach().norm(dim=1).median()))
    read = torch.cat([one.flatten() for task in tasks for one in seen(module, task)])
    return Stamp(float(read.min()), float(read.max()))


def seen(module: nn.Module, task: Task) -> list[Tensor]:
    """What the module reads of the first batch of a task."""
    read: list[Tensor] = []

    def noted(one: Tensor) -> Tensor:
        read.append(one.detach())
        return one

    with torch.no_grad(), hooked(embeddings(module), module, noted):
        task.ask(task.learning[0].inputs)
    if not read:
        raise InputError("the module was not asked", where=f"task {task.name}", hint="`ask` has to call it.")
    return read


def _forced(module: nn.Module, task: Task, how: Looking, change: Change) -> Sequence[Tensor]:
    """For each class the numbers of the cheapest change, for the module as it is."""
    with torch.no_grad():
        classes = task.told(task.learning[0]).logits.shape[-1]
    start, targets = change.start(seen(module, task)[0]), range(classes)
    if embeddings(module) is None:  # inputs are nothing but numbers: all classes are asked in one pass
        return _searched(module, task, how, change, start, targets).unbind()
    return [_searched(module, task, how, change, start, [target])[0] for target in targets]


def _searched(
    module: nn.Module, task: Task, how: Looking, change: Change, start: Tensor, targets: Sequence[int]
) -> Tensor:
    """[targets, *z]: each for itself, as Adam's steps are number by number."""
    z = start.expand(len(targets), *start.shape).clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=how.rate)

    def changed(read: Tensor) -> Tensor:
        return torch.cat([change.changed(read, one) for one in z])

    for step in range(how.steps):
        batch = task.learning[step % len(task.learning)]
        with hooked(embeddings(module), module, changed):
            logits = task.told(batch).logits
        wanted = torch.tensor(targets).repeat_interleave(len(logits) // len(targets))
        forced = len(targets) * torch.nn.functional.cross_entropy(logits, wanted)
        price = torch.stack([change.size(one) for one in z]).sum()
        (z.grad,) = torch.autograd.grad(forced + how.price * price, [z])
        optimizer.step()
    return z.detach()


def _sizes(forced: Sequence[Tensor], change: Change) -> list[float]:
    return [max(float(change.size(z)), 1e-6) for z in forced]


def _beside(sizes: Sequence[float], c: int) -> float:
    return sizes[c] / median([*sizes[:c], *sizes[c + 1 :]] or [1.0])
