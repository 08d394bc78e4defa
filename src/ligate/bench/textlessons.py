"""What learned merges of encoders look at: texts of the validation part, through the frozen heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ligate.bench.encoder import Encoder, logits
from ligate.bench.kept import digest_of
from ligate.bench.lessons import Lesson, batches, halves
from ligate.bench.suite import Task
from ligate.learn.gradient import Task as Learning
from ligate.learn.objectives import Batch
from ligate.learn.pooling import Known, pooled

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
    of = {task.name: None if task.expert is None else experts.index(task.expert) for task in taken}
    parts = {name: halves(asked, seed=0) for name, asked in each.items()}

    def vectors(tokens: Sequence[Sequence[int]]) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # in bfloat16 the gradient of the fused kernel takes 4 times as long
            return encoder.vectors(tokens)

    def made(name: str) -> Learning:
        learning, stopping = parts[name]
        return Learning(name, lambda tokens: logits(vectors(tokens), heads[name]),
                        _batches(encoder, learning, length, batch), _batches(encoder, stopping, length, 50),
                        of[name])  # fmt: skip

    def all_heads(tokens: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        told = vectors(tokens)
        return {name: logits(told, heads[name]) for name in each}

    def known(half: int) -> list[Known]:
        return [Known(one.text, k, one.answer) for k, name in enumerate(each) for one in parts[name][half]]

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        return encoder.tokens(texts, length)

    encoder.model.eval()
    digest = digest_of(f"{name} {asked} {batch}" for name, asked in each.items())
    together = pooled(of, all_heads, tokens, known(0), known(1), batch * len(each))
    return Lesson(encoder.model, [*map(made, each)], together, sum(map(len, each.values())), digest)


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
