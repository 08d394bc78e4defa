"""A lock: a random member of the symmetries of a network, so that its weights fit nobody else's.

MergeLock, arXiv 2509.01548: queries and keys, values and outputs of attention are multiplied by invertible matrices and
their inverses. The network computes what it did, but its weights are far from those of its siblings, and the average
with any of them computes nothing.

Per head one well-conditioned matrix (orthogonal x diagonal in [1/2, 2] x orthogonal; condition at most 4), so that
16-bit weights keep their worth; under rotary embeddings each pair of units turns by an angle and grows by a factor in
[1/2, 2]; where queries, keys and values are one tensor, they can only turn together. What each network allows is traced
from its graph (`ligate.align.axes`).

Then each head is made larger by 8 on one side and smaller by 8 on the other, or the reverse, which costs no precision.
The average of a head with its lock computes O (1 + M^-1) (1 + M) V / 4 = O (2 + M + M^-1) V / 4: half of the head
survives, and where M only turns, that is more than the noise beside it.

Differs: the distribution of the paper's matrices, and whether it draws one for each head, are not known to us.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ligate.align.maps import AxisMap, Group
from ligate.align.members import random_member

if TYPE_CHECKING:
    from torch import Tensor

_ENTROPY = 256  # bits
_LARGER = 8.0  # a head as a whole, or smaller by as much: conditions and roundings stay, but sums drown in it
_LEAST_SCALE = 1e-3  # of the largest: a norm's weight nearer to zero cannot be divided by


def draw_of(seed: int | None) -> np.random.Generator:
    """Numbers that follow from a seed or, without one, that nobody can draw again."""
    return np.random.default_rng(secrets.randbits(_ENTROPY) if seed is None else seed)


def drawn(groups: Sequence[Group], tensors: Mapping[str, Tensor], draw: np.random.Generator) -> tuple[AxisMap, ...]:
    """A random member of each group, in the order in which they are to be applied."""
    return tuple(_scaled(random_member(group, tensors, draw), draw) for group in groups)


def inverse(maps: Sequence[AxisMap]) -> tuple[AxisMap, ...]:
    """What takes the maps back, the last one first."""
    return tuple(_inverse(each) for each in reversed(maps))


def foldable(group: Group, tensors: Mapping[str, Tensor]) -> bool:
    """Whether all weights of norms that its rotation folds can be divided by."""
    names = [place.tensor for place in group.places if place.role == "scales"] if group.kind != "permutation" else []
    return all(_away_from_zero(tensors[name].double().abs()) for name in names)


def _scaled(each: AxisMap, draw: np.random.Generator) -> AxisMap:
    """Each head larger or smaller by a factor, where its kind allows that."""
    if each.group.kind not in ("invertible", "rotary"):
        return each
    up = torch.from_numpy(draw.integers(2, size=each.group.copies)).double()
    factors = _LARGER ** (2 * up - 1)[:, None, None]
    factors = factors if each.group.copies > 1 else factors[0]
    return each._replace(write=each.write * factors, read=each.read / factors)


def _inverse(each: AxisMap) -> AxisMap:
    if not each.write.is_floating_point():
        order = each.write.argsort(-1)
        return AxisMap(each.group, order, order)
    scales = {name: numbers.flip(0) for name, numbers in each.scales.items()}
    return AxisMap(each.group, torch.linalg.inv(each.write), each.write.mT.contiguous(), scales)


def _away_from_zero(numbers: Tensor) -> bool:
    return float(numbers.min()) > _LEAST_SCALE * float(numbers.max())
