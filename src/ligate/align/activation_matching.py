"""Which units of one network correspond to which of another, found from what they do on the same inputs.

Activation matching of Git Re-Basin, arXiv 2209.04836, for every kind of symmetry: for each group by itself the map M of
B's units that maximises

    sum_ij M_ij S_ij,    S_ij = the mean of x_i y_j over samples (`products`), or their covariance or correlation

in closed form (solving.py): the linear assignment, Procrustes for units that may turn. It is exact; there is nothing to
descend. Heads are exchanged for what the best map inside of them comes to. Networks are balanced first (gauge.py) where
any invertible map is allowed, so that rotations are left to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from .activations import At, By, crossed, scores
from .balanced import balanced, told, turning
from .maps import Group
from .matching import Matching, carried, inside_of, norm_scales, outer_first, turns, unmoved
from .running import Inputs
from .solving import best, most, worth

if TYPE_CHECKING:
    from torch import Tensor

    from .axes.graph import Symmetries


def activation_matching(
    found: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    batches: Sequence[Inputs],
    *,
    by: By = "products",
    at: At = "read",
) -> Matching:
    """What brings the units of B to those of A that do the same.

    Args:
        found: of the traced network; its trace computes both.
        batches: unlabelled inputs, some hundreds.
        by: `correlation` holds for permutations; units that turn go by covariance then.
        at: which values are looked at (activations.py).

    Limits: a group of which the trace shows no value (units inside of experts) is left in its place; `weight_matching`
    goes on from there.

    Raises:
        InputError: weights or inputs do not fit the trace, or there are no inputs.
    """
    one, other = balanced(a, found.groups), balanced(b, found.groups)
    every = crossed(found, one.weights, other.weights, batches, at=at)
    tables = {
        group.name: scores(every[group.name], "covariance" if turns(group) and by == "correlation" else by)
        for group in found.groups
        if group.name in every
    }
    moves, score = matched(turning(found.groups), tables)
    folded = {group.name: norm_scales(a, b, group) for group in found.groups if turns(group)}
    return Matching(told(moves, found.groups, one, other), score, folded)


def matched(groups: Sequence[Group], tables: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """The best maps for scores [copies of A, copies of B, size, size] of each group, and what they come to.

    >>> pair = Group("pair", 2, ())
    >>> moves, score = matched([pair], {"pair": torch.tensor([[[[1.0, 5.0], [2.0, 3.0]]]])})
    >>> moves["pair"].tolist(), score
    ([1, 0], 7.0)
    """
    moves: dict[str, Tensor] = {}
    copies = {group.name: torch.arange(group.copies) for group in groups}  # which copy of B comes to each of A
    score = 0.0
    for group in outer_first(groups):
        if group.name not in tables:
            moves[group.name] = unmoved(group)
            continue
        inner = inside_of(group, groups)
        table = tables[group.name][torch.arange(group.copies), copies[group.name]]
        held = [one for one in inner if one.name in tables and one.copies == group.size and group.copies == 1]
        own = torch.stack([most(tables[one.name], one.kind) for one in held]).sum(0)[None] if held else table
        move = best(own if group.copies > 1 else own[0], group.kind)
        score += float(worth(table if group.copies > 1 else table[0], move).sum())
        for one in inner:
            copies[one.name] = carried(copies[one.name], one, group, move)
        moves[group.name] = move
    return moves, score
