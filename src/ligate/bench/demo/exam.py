"""Score a model: embed every text of a split once, ask all heads, compare with the right answers.

Differences between two models are paired: both answer the same questions. Docstrings of one file resemble each other,
so the standard error treats a whole file as one draw, and the answers to one text stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.bench.demo.tasks import Example
from ligate.bench.encoder import Encoder, logits

RESOLVED = 2.0  # a difference of fewer standard errors is not resolved


@dataclass(frozen=True)
class Exam:
    """N texts with an answer to each of T tasks, and the frozen heads that ask for them."""

    tokens: Sequence[Sequence[int]]
    answers_NT: Tensor
    files_N: Tensor  # number of the source file a text comes from
    heads: Sequence[Tensor]

    def logits(self, vectors_ND: Tensor) -> list[Tensor]:
        return [logits(vectors_ND, head) for head in self.heads]

    def right(self, answered_NT: Tensor) -> Tensor:
        return answered_NT == self.answers_NT


class Difference(NamedTuple):
    """Mean accuracy of one model minus that of another, in points of a hundred, and its standard error."""

    points: float
    error: float

    @property
    def resolved(self) -> bool:
        return abs(self.points) >= RESOLVED * self.error and self.error > 0


def make_exam(examples: Sequence[Example], encoder: Encoder, heads: Sequence[Tensor]) -> Exam:
    files = {path: number for number, path in enumerate(sorted({example.path for example in examples}))}
    return Exam(
        encoder.tokens([example.text for example in examples]),
        torch.tensor([example.answers for example in examples]),
        torch.tensor([files[example.path] for example in examples]),
        tuple(heads),
    )


def answers(logits_per_task: Sequence[Tensor]) -> Tensor:
    """[N, T] chosen classes."""
    return torch.stack([each.argmax(1) for each in logits_per_task], dim=1)


def accuracy(right_NT: Tensor) -> tuple[float, ...]:
    """Share of right answers to each task."""
    return tuple(right_NT.double().mean(0).tolist())


def paired(right_NT: Tensor, other_NT: Tensor, files_N: Tensor) -> Difference:
    """Difference of the mean accuracies with a standard error clustered by source file.

    >>> right, wrong = torch.ones(4, 1).bool(), torch.zeros(4, 1).bool()
    >>> paired(right, wrong, torch.tensor([0, 0, 1, 1]))
    Difference(points=100.0, error=0.0)
    """
    difference_N = (right_NT.double() - other_NT.double()).mean(1)
    mean = difference_N.mean()
    count = int(files_N.max()) + 1
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, files_N, difference_N - mean)
    variance = sums.square().sum() * count / max(count - 1, 1)
    return Difference(100 * float(mean), 100 * float(variance.sqrt()) / len(difference_N))
