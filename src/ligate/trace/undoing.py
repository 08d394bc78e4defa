"""What a lock is worth against somebody who has the model it was made of: the gauge of each head by least squares.

With W', R' the sides of a locked head and W, R those of the base, the M is looked for that the owner drew (heads.py),
though the owner's model is a fine-tune of the base and not the base itself:

    minimise  |W' - M W|^2 + |M^T R' - R|^2        A M + M B = C,  A = R' R'^T,  B = W W^T,  C = W' W^T + R' R^T

which both terms make linear in M. In the eigenbases of A and B, M_ij = C_ij / (a_i + b_j). Under rotary embeddings M is
a complex number for each pair, C / (A + B) of the pair; where sides can only turn, the rotation nearest to X' X^T
(orthogonal Procrustes). So that both terms count alike, W' is first brought to the size of W by a factor, R' by its
inverse, where the kind allows that. Then M^-1 is applied to the locked model, whose function it keeps whatever it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ligate.align.maps import AxisMap, Group

from .heads import Sides, as_pairs, sides

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-12  # of the largest eigenvalue: a direction that neither side knows
_TINY = 1e-300


def undone(locked: Mapping[str, Tensor], base: Mapping[str, Tensor], groups: Sequence[Group]) -> tuple[AxisMap, ...]:
    """Maps for the locked model that bring its heads as near to those of the base as the equation says."""
    return tuple(_back(group, gauge(sides(locked, group), sides(base, group))) for group in groups)


def gauge(locked: Sides, base: Sides) -> Tensor:
    """[heads, d, d] M of the equation above; heads of which M comes out singular keep the identity."""
    size = _size(locked, base)
    like = locked._replace(write=locked.write / size, read=locked.read * size)
    found = size * {"rotary": _pairs, "orthogonal": _turns}.get(locked.kind, _any)(like, base)
    whole = torch.linalg.cond(found) < 1 / _LEAST
    return torch.where(whole[:, None, None], found, torch.eye(found.shape[-1], dtype=found.dtype))


def _size(locked: Sides, base: Sides) -> Tensor:
    """[heads, 1, 1] how much larger the rows of the locked head are; 1 where heads can only turn."""
    ratio = locked.write.square().sum((1, 2)) / base.write.square().sum((1, 2))
    known = ratio.isfinite() & (ratio > 0) & (locked.kind != "orthogonal")
    return torch.where(known, ratio, 1.0).sqrt()[:, None, None]


def _any(locked: Sides, base: Sides) -> Tensor:
    one, turn_one = torch.linalg.eigh(locked.read @ locked.read.mT)
    other, turn_other = torch.linalg.eigh(base.write @ base.write.mT)
    both = locked.write @ base.write.mT + locked.read @ base.read.mT
    rate = one[:, :, None] + other[:, None, :]
    floor = (_LEAST * rate.amax((1, 2), keepdim=True)).clamp_min(_TINY)
    return turn_one @ ((turn_one.mT @ both @ turn_other) / rate.clamp_min(floor)) @ turn_other.mT


def _pairs(locked: Sides, base: Sides) -> Tensor:
    w, r, w0, r0 = map(as_pairs, (locked.write, locked.read, base.write, base.read))
    both = (w * w0.conj()).sum(2) + (r * r0.conj()).sum(2)
    m = both / (w0.abs().square().sum(2) + r.abs().square().sum(2)).clamp_min(_TINY)
    c, s = torch.diag_embed(m.real), torch.diag_embed(m.imag)
    return torch.cat([torch.cat([c, -s], 2), torch.cat([s, c], 2)], 1)


def _turns(locked: Sides, base: Sides) -> Tensor:
    left, _, right = torch.linalg.svd(locked.joined @ base.joined.mT)
    return left @ right


def _back(group: Group, m: Tensor) -> AxisMap:
    write, read = torch.linalg.inv(m), m.mT.contiguous()
    return AxisMap(group, write, read) if group.copies > 1 else AxisMap(group, write[0], read[0])
