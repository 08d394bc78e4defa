"""Which unit of one network does what a unit of the other does: greedily, or one to one.

"Convergent Learning: Do different neural networks learn the same representations?", arXiv 1511.07543, section 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.align.solving import assignment

if TYPE_CHECKING:
    from torch import Tensor


class Matches(NamedTuple):
    """Unit `first[k]` of a goes with unit `second[k]` of b, and they correlate with `values[k]`; the best first."""

    first: Tensor
    second: Tensor
    values: Tensor

    @property
    def mean(self) -> float:
        """The mean matched correlation, from -1 to 1; 0 where nothing is matched."""
        return float(self.values.mean()) if len(self.values) else 0.0


def semi_matching(between: Tensor) -> Matches:
    """For every unit of a the unit of b that correlates most with it: j(i) = argmax_j c_ij. Several may share one.

    Args:
        between: [units of a, units of b] correlations.
    """
    if not between.numel():
        return _sorted(between, torch.arange(0), torch.arange(0))
    return _sorted(between, torch.arange(len(between)), between.argmax(1))


def one_to_one(between: Tensor) -> Matches:
    """The pairs that maximise the sum of c_ij, each unit in one pair at most; of the wider network some are left out.

    Where this is well below the semi-matching, several units of a want the same unit of b.

    Raises:
        InputError: scipy is not installed.
    """
    if len(between) > between.shape[1]:
        turned = one_to_one(between.T)
        return Matches(turned.second, turned.first, turned.values)
    return _sorted(between, torch.arange(len(between)), assignment(between))


def _sorted(between: Tensor, first: Tensor, second: Tensor) -> Matches:
    values = between[first, second]
    order = values.argsort(descending=True, stable=True)
    return Matches(first[order], second[order], values[order])
