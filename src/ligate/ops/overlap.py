"""Where task vectors change something, and with how many others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Overlap(NamedTuple):
    """Task vectors in float64, zero where they change less than is counted, and how many change each entry."""

    rows: Sequence[Tensor]
    changed_by: Tensor

    def unique(self) -> Tensor:
        """1 where exactly one model changes the entry, else 0."""
        return (self.changed_by == 1).double()

    def merged(self, gains: Sequence[float] | None = None) -> Tensor:
        """The mean over the models that change an entry; what one alone changes is multiplied with its gain."""
        if gains is None:
            return _total(self.rows) / self.changed_by.clamp_min(1)
        alone = self.unique()
        raised = [row * (1 + (gain - 1) * alone) for row, gain in zip(self.rows, gains, strict=True)]
        return _total(raised) / self.changed_by.clamp_min(1)


def overlap(base: Tensor, tuned: Tensor, epsilon: float) -> Overlap:
    """An entry counts as changed where its magnitude is above `epsilon`."""
    start = base.double()
    apart = [model.double() - start for model in tuned]
    seen = [(row.detach().abs() > epsilon).double() for row in apart]
    return Overlap([row * mask for row, mask in zip(apart, seen, strict=True)], _total(seen))


def _total(rows: Sequence[Tensor]) -> Tensor:
    total = torch.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total
