"""Which units of one network correspond to which of another, found from their weights.

Git Re-Basin, arXiv 2209.04836: with P the permutations of all groups of units, maximise

    sum over weights  <W_A, P(W_B)>

by coordinate descent. For one group, all others held still, the best permutation is a linear assignment problem
whose scores are inner products of unit i of A with unit j of B, added up over all weights on which the group lies. The
descent ends in a local optimum that depends on the order of the groups, so it is begun anew from several seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.align.maps import AxisMap, Group, applied, reordered, units
from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_SWEEPS = 100
_GAIN = 1e-12  # a share of the score: less is rounding


class Matching(NamedTuple):
    """`orders` says, for each group, which unit of B takes each place; `score` is the sum that was maximised."""

    orders: Mapping[str, Tensor]
    score: float

    def applied(self, tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> dict[str, Tensor]:
        """B in the coordinates of A."""
        return applied(tensors, self.maps(groups))

    def maps(self, groups: Sequence[Group]) -> list[AxisMap]:
        return [reordered(group, self.orders[group.name]) for group in groups]


def weight_matching(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], groups: Sequence[Group], *, seed: int = 0, starts: int = 3
) -> Matching:
    """The best of several descents, in float64.

    Raises:
        InputError: the weights do not have the same shapes.
    """
    names = sorted({place.tensor for group in groups for place in group.places})
    _alike(a, b, names)
    first, second = ({name: each[name].double() for name in names} for each in (a, b))
    found = [_descend(first, second, groups, seed + start) for start in range(starts)]
    return max(found, key=lambda one: one.score)


def assignment(scores: Tensor) -> Tensor:
    """The permutation p that maximises the sum of scores[i, p[i]], exactly.

    >>> assignment(torch.tensor([[4.0, 2.0, 2.0], [7.0, 2.0, 5.0], [11.0, 4.0, 7.0]])).tolist()
    [1, 2, 0]
    """
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(scores.numpy(force=True), maximize=True)
    return torch.from_numpy(columns)


def similarity(a: Mapping[str, Tensor], b: Mapping[str, Tensor], group: Group) -> Tensor:
    """[size, size] inner products of the units of both, over all weights on which the group lies."""
    total = torch.zeros(group.size, group.size, dtype=torch.float64)
    for place in group.places:
        total += units(a[place.tensor], place)[0] @ units(b[place.tensor], place)[0].T
    return total


def _descend(a: Mapping[str, Tensor], b: Mapping[str, Tensor], groups: Sequence[Group], seed: int) -> Matching:
    generator = torch.Generator().manual_seed(seed)
    orders = {group.name: torch.arange(group.size) for group in groups}
    moved = dict(b)
    least = _GAIN * sum(float(value.norm() * b[name].norm()) for name, value in a.items())
    for _ in range(_SWEEPS):
        gained = False
        for index in torch.randperm(len(groups), generator=generator).tolist():
            group = groups[index]
            scores = similarity(a, moved, group)
            order = assignment(scores)
            if float(scores[torch.arange(group.size), order].sum() - scores.trace()) > least:
                orders[group.name] = orders[group.name][order]
                moved = applied(moved, [reordered(group, order)])
                gained = True
        if not gained:
            break
    return Matching(orders, sum(float((value * moved[name]).sum()) for name, value in a.items()))


def _alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor], names: Sequence[str]) -> None:
    for name in names:
        if a[name].shape != b[name].shape:
            raise InputError(
                f"has the shape {list(a[name].shape)} in one model and {list(b[name].shape)} in the other",
                where=f"tensor {name}",
                hint="units can only be matched one to one between networks of the same widths.",
            )
