"""Random members of the symmetries of a network: what a check applies to see that they are symmetries.

Rotations are drawn from the Haar measure; factors that stretch lie between 1/2 and 2, so that nothing becomes ill-
conditioned; norms get new random scales, as the fold of the old ones allows any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from .maps import AxisMap, Group, reordered

if TYPE_CHECKING:
    from torch import Tensor

Draw: TypeAlias = "torch.Generator | np.random.Generator"
"""torch's generator knows no more than 2^32 seeds; where nobody may try them all, numpy's takes its from the system."""


def random_member(group: Group, tensors: Mapping[str, Tensor], draw: Draw, *, stretch: bool = True) -> AxisMap:
    """A map of the group's kind, of each copy in its own way; without `stretch` it only permutes and turns."""
    count, size = group.copies, group.size
    if group.kind == "permutation":
        order = torch.stack([_order(size, draw) for _ in range(count)])
        return reordered(group, order if count > 1 else order[0])
    write = torch.stack([_matrix(group, draw, stretch) for _ in range(count)])
    read = torch.linalg.inv(write).mT
    write, read = (write, read) if count > 1 else (write[0], read[0])
    return AxisMap(group, write, read, _scales(group, tensors, draw))


def _matrix(group: Group, draw: Draw, stretch: bool) -> Tensor:
    size = group.size
    if group.kind == "signed":
        return torch.diag(_signs(size, draw))[_order(size, draw)]
    if group.kind == "rotary":
        factors = _factor(size // 2, draw) if stretch else torch.ones(size // 2, dtype=torch.float64)
        return pairs_turned(6.3 * _uniform(size // 2, draw), factors)
    if group.kind == "centred":
        basis = torch.linalg.qr(torch.cat([torch.ones(size, 1), _normal(size, size - 1, draw)], 1).double())
        rest = basis.Q[:, 1:]
        return torch.full((size, size), 1 / size, dtype=torch.float64) + rest @ rotation(size - 1, draw) @ rest.T
    q = rotation(size, draw)
    return q if group.kind == "orthogonal" or not stretch else q * _factor(size, draw) @ rotation(size, draw)


def rotation(size: int, draw: Draw) -> Tensor:
    q, r = torch.linalg.qr(_normal(size, size, draw, torch.float64))
    return q * r.diagonal().sign()


def pairs_turned(angles: Tensor, factors: Tensor) -> Tensor:
    """[2n, 2n] that turns units j and j + n by an angle and stretches them by a factor.

    >>> pairs_turned(torch.tensor([torch.pi / 2]), torch.tensor([2.0])).round().tolist()
    [[-0.0, -2.0], [2.0, -0.0]]
    """
    c, s = torch.diag(factors * angles.cos()), torch.diag(factors * angles.sin())
    return torch.cat([torch.cat([c, -s], 1), torch.cat([s, c], 1)])


def _scales(group: Group, tensors: Mapping[str, Tensor], draw: Draw) -> dict[str, Tensor]:
    names = [place.tensor for place in group.places if place.role == "scales"]
    return {name: torch.stack([tensors[name].double(), _factor(group.size, draw)]) for name in names}


def _factor(size: int, draw: Draw) -> Tensor:
    return (2 * _uniform(size, draw) - 1).exp2()


def _uniform(size: int, draw: Draw) -> Tensor:
    if isinstance(draw, torch.Generator):
        return torch.rand(size, generator=draw, dtype=torch.float64)
    return torch.from_numpy(draw.random(size))


def _normal(rows: int, columns: int, draw: Draw, dtype: torch.dtype = torch.float32) -> Tensor:
    if isinstance(draw, torch.Generator):
        return torch.randn(rows, columns, generator=draw, dtype=dtype)
    return torch.from_numpy(draw.standard_normal((rows, columns))).to(dtype)


def _order(size: int, draw: Draw) -> Tensor:
    if isinstance(draw, torch.Generator):
        return torch.randperm(size, generator=draw)
    return torch.from_numpy(draw.permutation(size))


def _signs(size: int, draw: Draw) -> Tensor:
    if isinstance(draw, torch.Generator):
        return 2 * torch.randint(2, (size,), generator=draw).double() - 1
    return torch.from_numpy(draw.choice([-1.0, 1.0], size))
