"""Where task vectors change something, and with how many others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.direct import MeanOfChanged

from .rows import deltas, own

if TYPE_CHECKING:
    from torch import Tensor


class Sums(NamedTuple):
    """Over the models, entry by entry."""

    changes: Tensor  # float64
    raised: Tensor  # the same, each model's multiplied with its gain
    many: Tensor  # how many models change it

    def mean(self) -> Tensor:
        """Over those who change an entry."""
        return self.changes / self.many.clamp(min=1)

    def raised_mean(self) -> Tensor:
        """The same, but with the gain of the one where there is only one."""
        return torch.where(self.many == 1, self.raised, self.mean())


def changes(base: Tensor, tuned: Tensor, epsilon: float) -> Iterator[Tensor]:
    """Task vectors, zero where they are not larger than `epsilon`; one after the other in the same memory."""
    for row in deltas(base, tuned):
        yield torch.hardshrink(row, epsilon, out=own(row))


def mean_of_changed(base: Tensor, tuned: Tensor, rule: MeanOfChanged) -> Tensor:
    found = sums(base, tuned, rule.epsilon, rule.weights)
    return (base.double() + rule.scale * found.raised_mean()).to(base.dtype)


def sums(base: Tensor, tuned: Tensor, epsilon: float, gains: Sequence[float]) -> Sums:
    """All in one pass."""
    total = torch.zeros_like(base, dtype=torch.float64)
    raised, count = torch.zeros_like(total), torch.zeros_like(base, dtype=torch.int32)
    for row, gain in zip(changes(base, tuned, epsilon), gains, strict=True):
        count.add_(row.detach() != 0)
        total.add_(row)
        raised.add_(row.double() * gain)
    return Sums(total, raised, count)


def shared_and_alone(base: Tensor, tuned: Tensor, epsilon: float) -> list[tuple[int, int]]:
    """Of each model, how many entries it changes with others, and how many alone."""
    count = torch.zeros_like(base, dtype=torch.int32)
    for row in changes(base, tuned, epsilon):
        count.add_(row != 0)
    only, found = count == 1, list[tuple[int, int]]()
    for row in changes(base, tuned, epsilon):
        changed = row != 0
        alone = int((changed & only).count_nonzero())
        found.append((int(changed.count_nonzero()) - alone, alone))
    return found
