"""What a learned merge of the bench may look at: inputs of the validation part, half to learn from, half to stop by."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

from ligate.bench.suite import World

if TYPE_CHECKING:
    from torch import nn

    from ligate.learn.gradient import Task

One = TypeVar("One")


class Lesson(NamedTuple):
    """A module that takes any network's weights, and tasks to ask it. Batches have labels; rows say who uses them.

    `pooled` stands for all tasks, for presets that ask every task about the inputs of all. `examples` of all tasks
    together, both halves; `digest` of them.
    """

    module: nn.Module
    tasks: Sequence[Task]
    pooled: Task
    examples: int
    digest: str


@runtime_checkable
class Teaching(World, Protocol):
    """A world whose networks can be asked with gradients."""

    def lesson(self, batch: int, per_class: int | None) -> Lesson:
        """Batches of so many examples; with `per_class` no more of each class, both halves together."""
        ...


def halves(examples: Sequence[One], seed: int) -> tuple[list[One], list[One]]:
    """Drawn by lot: to learn from, to stop by."""
    mixed = list(examples)
    random.Random(seed).shuffle(mixed)
    middle = (len(mixed) + 1) // 2
    return mixed[:middle], mixed[middle:]


def batches(examples: Sequence[One], size: int) -> list[Sequence[One]]:
    """In order, of `size` each; the last may be smaller."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]
