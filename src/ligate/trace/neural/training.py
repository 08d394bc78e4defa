"""A detector learns from known lineages: cross entropy of the true parent among random choices of the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from ligate.core.errors import InputError

from .detector import Detector, Size
from .evidence import Evidence

_FEWEST = 2


class Question(NamedTuple):
    """`answer` is the place of the true parent among the candidates."""

    given: Evidence
    answer: int


class Schedule(NamedTuple):
    """Each question is asked once an epoch, with a random half to all of its wrong candidates; Adam, cosine rate."""

    epochs: int = 40
    rate: float = 2e-3
    batch: int = 8  # questions in a step
    decay: float = 1e-2


def trained(
    questions: Sequence[Question],
    schedule: Schedule = Schedule(),  # noqa: B008 - a tuple
    size: Size = Size(),  # noqa: B008
    *,
    seed: int = 0,
    watch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Detector:
    """A detector from the same seed and questions is the same.

    Args:
        watch: is told the mean loss of every epoch.

    Raises:
        InputError: there are no questions with several candidates.
    """
    asked = [each for each in questions if len(each.given.names) >= _FEWEST]
    if not asked:
        raise InputError("there is nothing to learn from", where="trace", hint="give questions with two candidates.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector(size).train()
        optimizer = torch.optim.AdamW(detector.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
        steps = schedule.epochs * -(-len(asked) // schedule.batch)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for epoch in range(schedule.epochs):
            losses: list[float] = []
            for batch in torch.randperm(len(asked)).split(schedule.batch):
                loss = torch.stack([_loss(detector, asked[int(one)]) for one in batch]).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
                optimizer.step()
                falling.step()
                losses.append(float(loss.detach()))
            watch(epoch, sum(losses) / len(losses))
    return detector.eval()


def _loss(detector: Detector, question: Question) -> torch.Tensor:
    """Of the true parent among some of the candidates, in a random order."""
    wrong = [each for each in range(len(question.given.names)) if each != question.answer]
    share = 0.5 + 0.5 * float(torch.rand(()))
    kept = [wrong[int(one)] for one in torch.randperm(len(wrong))[: max(1, round(share * len(wrong)))]]
    given = question.given.of([question.answer, *kept])
    return nn.functional.cross_entropy(detector(given)[None], torch.zeros(1, dtype=torch.long))
