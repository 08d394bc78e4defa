"""Full fine-tuning of an encoder against frozen heads, in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.bench.encoder import Encoder, logits

EPOCHS = 2
_BATCH = 32
_RATE = 5e-5
_POOL = 8  # batches whose texts are sorted by length together, against padding


class Lesson(NamedTuple):
    """A text, the head that asks about it, and the number of the right class."""

    tokens: Sequence[int]
    head: str
    answer: int


def fine_tune(
    encoder: Encoder,
    lessons: Sequence[Lesson],
    heads: Mapping[str, Tensor],
    *,
    seed: int,
    epochs: int = EPOCHS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Change the encoder in place; the heads stay. `progress` hears how many texts of how many are done."""
    total = epochs * len(lessons)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder.model.train()
        # No decay: a weight that no text touches keeps its value exactly.
        optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=_RATE, weight_decay=0.0, fused=True)
        done = 0
        for _ in range(epochs):
            for batch in _batches([len(lesson.tokens) for lesson in lessons]):
                loss = _loss(encoder, [lessons[i] for i in batch], heads)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += len(batch)
                progress(done, total)
        encoder.model.eval()


def _loss(encoder: Encoder, lessons: Sequence[Lesson], heads: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy over the batch, each text asked by its own head."""
    vectors = encoder.vectors([lesson.tokens for lesson in lessons])
    total = vectors.new_zeros(())
    for name in sorted({lesson.head for lesson in lessons}):
        asked = [i for i, lesson in enumerate(lessons) if lesson.head == name]
        target = torch.tensor([lessons[i].answer for i in asked])
        scores = logits(vectors[asked], heads[name])
        total = total + torch.nn.functional.cross_entropy(scores, target, reduction="sum")
    return total / len(lessons)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Every index once, in random batches of texts of like length."""
    order: list[int] = torch.randperm(len(lengths)).tolist()
    pool = _BATCH * _POOL
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        mixed = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [mixed[k : k + _BATCH] for k in range(0, len(mixed), _BATCH)]
    return [batches[i] for i in torch.randperm(len(batches)).tolist()]
