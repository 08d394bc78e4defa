"""Random members of the symmetries of a network: what a check applies to see that they are symmetries.

Rotations are drawn from the Haar measure; factors that stretch lie between 1/2 and 2, so that nothing becomes ill-
conditioned; norms get new random scales, as the fold of the old ones allows any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from .maps import AxisMap, Group, reordered

if TYPE_CHECKING:
    from torch import Generator, Tensor


def random_member(group: Group, tensors: Mapping[str, Tensor], draw: Generator, *, stretch: bool = True) -> AxisMap:
    """A map of the group's kind, of each copy in its own way; without `stretch` it only permutes and turns."""
    count, size = group.copies, group.size
    if group.kind == "permutation":
        order = torch.stack([torch.randperm(size, generator=draw) for _ in range(count)])
        return reordered(group, order if count > 1 else order[0])
    write = torch.stack([_matrix(group, draw, stretch) for _ in range(count)])
    read = torch.linalg.inv(write).mT
    write, read = (write, read) if count > 1 else (write[0], read[0])
    return AxisMap(group, write, read, _scales(group, tensors, draw))


def _matrix(group: Group, draw: Generator, stretch: bool) -> Tensor:
    size = group.size
    if group.kind == "signed":
        signs = 2 * torch.randint(2, (size,), generator=draw).double() - 1
        return torch.diag(signs)[torch.randperm(size, generator=draw)]
    if group.kind == "rotary":
        factors = _factor(size // 2, draw) if stretch else torch.ones(size // 2, dtype=torch.float64)
        return pairs_turned(6.3 * _uniform(size // 2, draw), factors)
    if group.kind == "centred":
        basis = torch.linalg.qr(
            torch.cat([torch.ones(size, 1), torch.randn(size, size - 1, generator=draw)], 1).double()
        )
        rest = basis.Q[:, 1:]
        return torch.full((size, size), 1 / size, dtype=torch.float64) + rest @ rotation(size - 1, draw) @ rest.T
    q = rotation(size, draw)
    return q if group.kind == "orthogonal" or not stretch else q * _factor(size, draw) @ rotation(size, draw)


def rotation(size: int, draw: Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))
    return q * r.diagonal().sign()


def pairs_turned(angles: Tensor, factors: Tensor) -> Tensor:
    """[2n, 2n] that turns units j and j + n by an angle and stretches them by a factor.

    >>> pairs_turned(torch.tensor([torch.pi / 2]), torch.tensor([2.0])).round().tolist()
    [[-0.0, -2.0], [2.0, -0.0]]
    """
    c, s = torch.diag(factors * angles.cos()), torch.diag(factors * angles.sin())
    return torch.cat([torch.cat([c, -s], 1), torch.cat([s, c], 1)])


def _scales(group: Group, tensors: Mapping[str, Tensor], draw: Generator) -> dict[str, Tensor]:
    names = [place.tensor for place in group.places if place.role == "scales"]
    return {name: torch.stack([tensors[name].double(), _factor(group.size, draw)]) for name in names}


def _factor(size: int, draw: Generator) -> Tensor:
    return (2 * _uniform(size, draw) - 1).exp2()


def _uniform(size: int, draw: Generator) -> Tensor:
    return torch.rand(size, generator=draw, dtype=torch.float64)
