"""What is expected of the numbers themselves, whatever the tasks say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .parametrisations import Coefficients

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Near:
    """weight sum_k mean_l |c_kl - c_0|: coefficients stay where they begin unless the tasks speak against it.

    Expert Merging, arXiv 2509.25712, as its authors' code counts; the paper divides by the number of experts too.
    """

    coefficients: Coefficients
    weight: float = 5.0

    def __call__(self, numbers: Mapping[str, Tensor]) -> Tensor:
        each = [self.coefficients.coefficients(one).reshape(len(one), -1) for one in numbers.values()]
        return self.weight * (torch.cat(each, 1) - self.coefficients.start_at).abs().mean(1).sum()
