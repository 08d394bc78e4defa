"""Two networks compared where each is balanced (gauge.py), and what was found told for the networks as they are.

Between balanced networks, what may be multiplied by any invertible matrix only has to be turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from .gauge import balance
from .maps import Group, applied
from .matching import axis_map, carried, folded, inside_of, outer_first, stretches, turns
from .solving import best

if TYPE_CHECKING:
    from torch import Tensor


class Balanced(NamedTuple):
    """A network that says the same, and what was done to each group of units that may be stretched."""

    weights: dict[str, Tensor]
    moves: dict[str, Tensor]


def balanced(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> Balanced:
    """Scales of norms count as part of what reads them, where units may turn: there they are no property of units."""
    whole = {**tensors, **_folded(tensors, groups)}
    moves = {group.name: balance(whole, group) for group in groups if stretches(group)}
    maps = [axis_map(group, moves[group.name]) for group in groups if group.name in moves]
    return Balanced(applied(tensors, maps), moves)


def _folded(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> dict[str, Tensor]:
    places = [place for group in groups if turns(group) for place in group.places if place.scale]
    return {place.tensor: folded(tensors[place.tensor], place, tensors[place.scale]) for place in places}


def turning(groups: Sequence[Group]) -> list[Group]:
    """The groups as they are between balanced networks."""
    return [group._replace(kind="orthogonal") if group.kind == "invertible" else group for group in groups]


def told(orders: Mapping[str, Tensor], groups: Sequence[Group], a: Balanced, b: Balanced) -> dict[str, Tensor]:
    """Maps between the networks as they were, A^-1 R B for each copy, from maps R between the balanced ones."""
    return _between(orders, groups, _inverse(a.moves), b.moves)


def turned(orders: Mapping[str, Tensor], groups: Sequence[Group], a: Balanced, b: Balanced) -> dict[str, Tensor]:
    """Maps between the balanced networks from maps between the networks as they were: the nearest to A M B^-1."""
    found = _between(orders, groups, a.moves, _inverse(b.moves))
    nearest = {group.name: best(found[group.name], group.kind) for group in turning(groups) if group.name in b.moves}
    return found | nearest


def _between(
    orders: Mapping[str, Tensor], groups: Sequence[Group], left: Mapping[str, Tensor], right: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """left R right; what is to the right belongs to the copies of B, which come in the order of their heads."""
    found, own = dict(orders), dict(right)
    for group in outer_first(groups):
        if group.name in own:
            found[group.name] = left[group.name] @ orders[group.name].double() @ own[group.name]
            continue
        for inner in inside_of(group, groups):
            if inner.name in own:
                own[inner.name] = carried(own[inner.name], inner, group, orders[group.name])
    return found


def _inverse(moves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.linalg.inv(move) for name, move in moves.items()}
