"""Two networks compared where each is balanced (gauge.py), and what was found told for the networks as they are.

Between balanced networks, what may be multiplied by any invertible matrix only has to be turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from .gauge import balance
from .maps import AxisMap, Group, applied
from .matching import carried, inside_of, outer_first
from .solving import best

if TYPE_CHECKING:
    from torch import Tensor


class Balanced(NamedTuple):
    """A network that says the same, and what was done to each group of units that may be stretched."""

    weights: dict[str, Tensor]
    moves: dict[str, Tensor]


def balanced(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> Balanced:
    moves = {group.name: balance(tensors, group) for group in groups if group.kind in ("invertible", "rotary")}
    maps = [
        AxisMap(group, moves[group.name], torch.linalg.inv(moves[group.name]).mT)
        for group in groups
        if group.name in moves
    ]
    return Balanced(applied(tensors, maps), moves)


def turning(groups: Sequence[Group]) -> list[Group]:
    """The groups as they are between balanced networks."""
    return [group._replace(kind="orthogonal") if group.kind == "invertible" else group for group in groups]


def told(orders: Mapping[str, Tensor], groups: Sequence[Group], a: Balanced, b: Balanced) -> dict[str, Tensor]:
    """Maps between the networks as they were, from maps between the balanced ones: A^-1 R B for each copy."""
    found, own = dict(orders), dict(b.moves)
    for group in outer_first(groups):
        if group.name in own:
            turn = best(orders[group.name].double(), group.kind)
            found[group.name] = torch.linalg.inv(a.moves[group.name]) @ turn @ own[group.name]
            continue
        for inner in inside_of(group, groups):
            if inner.name in own:
                own[inner.name] = carried(own[inner.name], inner, group, orders[group.name])
    return found
