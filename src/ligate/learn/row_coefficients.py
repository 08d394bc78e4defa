"""A coefficient for every expert and row: what each unit takes over from whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .parametrisations import Numbers, as_shares
from .rows import added_by_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RowCoefficients:
    r"""W_r = W_{0,r} + sum_k c_{kr} tau_{k,r} with c = most * sigmoid(x), for every row r.

    That is an index of the first axis (a unit, or channel, and what it gets; one number of a bias or a norm); a
    tensor without axes is one row. Of K experts these are K numbers for each row: of a layer of n inputs, K / n of its
    weights. Ours; Expert Merging, arXiv 2509.25712, has the same for whole tensors.

    Args:
        start_at: the coefficients before anything is learned.
        most: the largest that a coefficient can become; none is negative.
    """

    start_at: float = 0.3
    most: float = 1.5

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        at = float(torch.tensor(self.start_at / self.most).logit())
        return {name: torch.full((experts, *shape[:1]), at) for name, shape in shapes.items()}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        return added_by_rows(base, deltas, self.coefficients(numbers[name]))

    def coefficients(self, numbers: Tensor) -> Tensor:
        """What multiplies the rows of the deltas."""
        return self.most * numbers.sigmoid()

    def shares(self, numbers: Numbers) -> Tensor:
        means = [self.coefficients(one).reshape(len(one), -1).mean(1) for one in numbers.values()]
        return as_shares(torch.stack(means).mean(0))
