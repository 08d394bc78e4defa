"""Which units of one network correspond to which of another, found from what they do on the same inputs.

Activation matching of Git Re-Basin, arXiv 2209.04836, for every kind of symmetry: for each group by itself the map M of
B's units that maximises

    sum_ij M_ij S_ij,    S_ij = the mean of x_i y_j over samples (`products`), or their covariance or correlation

in closed form (solving.py): the linear assignment, Procrustes for units that may turn. For layers of plain units that
is exact, and there is nothing to descend. Heads are exchanged for what the best map inside of them comes to. Queries of
a group, and how their values are turned, show on the same numbers: they are found in rounds, each with B as it is moved
so far. Networks are balanced first (gauge.py) where any invertible map is allowed: rotations are left to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from .activations import At, By, crossed, scores
from .balanced import balanced, told, turning
from .maps import Group
from .matching import Matching, after, carried, inside_of, norm_scales, outer_first, turns, unmoved
from .running import Inputs
from .solving import best, most, worth

if TYPE_CHECKING:
    from torch import Tensor

    from .axes.graph import Symmetries

_ROUNDS = 3


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
    groups = turning(found.groups)
    one, other = balanced(a, found.groups), balanced(b, found.groups)
    rounds = _ROUNDS if any(inside_of(group, groups) for group in groups) else 1
    now = Matching({group.name: unmoved(group) for group in groups}, 0.0)
    moved = other.weights
    for _ in range(rounds):
        more = _round(found, groups, one.weights, moved, batches, by, at)
        now = Matching(_then(groups, now.orders, more.orders), more.score)
        moved = more.applied(moved, groups)
    folded = {group.name: norm_scales(a, b, group) for group in groups if turns(group)}
    return Matching(told(now.orders, found.groups, one, other), now.score, folded)


def _round(
    found: Symmetries,
    groups: Sequence[Group],
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    batches: Sequence[Inputs],
    by: By,
    at: At,
) -> Matching:
    every = crossed(found, a, b, batches, at=at)
    tables = {
        group.name: scores(every[group.name], "covariance" if turns(group) and by == "correlation" else by)
        for group in groups
        if group.name in every
    }
    moves, score = matched(groups, tables)
    return Matching(moves, score, {group.name: norm_scales(a, b, group) for group in groups if turns(group)})


def _then(groups: Sequence[Group], orders: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One matching after another; what lies inside of heads goes with them."""
    found = dict(orders)
    for group in outer_first(groups):
        found[group.name] = after(found[group.name], more[group.name])
        for inner in inside_of(group, groups):
            found[inner.name] = carried(found[inner.name], inner, group, more[group.name])
    return found


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
