"""What learned merges of encoders look at: texts of the validation part, through the frozen heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ligate.bench.encoder import Encoder, logits
from ligate.bench.kept import digest_of
from ligate.bench.lessons import Lesson, batches, halves
from ligate.bench.suite import Task
from ligate.learn.gradient import Task as Learning
from ligate.learn.objectives import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.bench.texts import Question


def lesson(
    encoder: Encoder,
    tasks: Sequence[Task],
    heads: Mapping[str, Tensor],
    questions: Mapping[str, Sequence[Question]],
    experts: Sequence[str],
    length: int,
    batch: int,
    per_class: int | None,
) -> Lesson:
    """`questions` by task; tasks that have none are not learned. Labels are in the batches, for objectives that ask."""
    taken = [task for task in tasks if task.name in questions]
    each = {task.name: few(questions[task.name], per_class) for task in taken}

    def made(name: str, expert: str | None) -> Learning:
        def ask(tokens: Sequence[Sequence[int]]) -> Tensor:
            return logits(encoder.vectors(tokens), heads[name])

        learning, stopping = halves(each[name], seed=0)
        return Learning(name, ask, _batches(encoder, learning, length, batch), _batches(encoder, stopping, length, 50),
                        None if expert is None else experts.index(expert))  # fmt: skip

    encoder.model.eval()
    digest = digest_of(f"{name} {asked} {batch}" for name, asked in each.items())
    return Lesson(encoder.model, [made(task.name, task.expert) for task in taken], sum(map(len, each.values())), digest)


def few(questions: Sequence[Question], per_class: int | None) -> list[Question]:
    """The first of them, so many of each class."""
    seen: dict[int, int] = {}
    kept: list[Question] = []
    for one in questions:
        seen[one.answer] = seen.get(one.answer, 0) + 1
        if per_class is None or seen[one.answer] <= per_class:
            kept.append(one)
    return kept


def _batches(encoder: Encoder, questions: Sequence[Question], length: int, size: int) -> list[Batch]:
    return [
        Batch(encoder.tokens([one.text for one in each], length), torch.tensor([one.answer for one in each]))
        for each in batches(questions, size)
    ]
