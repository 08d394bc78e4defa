"""The same function, written in one way among all that matrices between two layers allow.

Where nothing but matrices meets d units (values and what reads the heads, queries and keys), W -> M W and R -> R M^-1
change nothing for any invertible M. Of all these the balanced one is taken, in which both sides have the same Gram
matrix. With P = W W^T and Q = R^T R, [d, d], it is M = S^1/2 of

    S P S = Q        S = P^-1/2 (P^1/2 Q P^1/2)^1/2 P^-1/2        the geometric mean of P^-1 and Q

(Bhatia, Positive Definite Matrices, 2007, 4.1). It is unique up to a rotation, whatever the network was multiplied with
before, so that rotations are all that is left to be found between two networks. Under rotary embeddings each pair of
units has one factor, (tr Q / tr P)^1/4 of the pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from .maps import Group, units

if TYPE_CHECKING:
    from torch import Tensor

_WORST = 1e-10  # the smallest eigenvalue to the largest: beyond, a side hardly says anything, and is left as it is


def balance(tensors: Mapping[str, Tensor], group: Group) -> Tensor:
    """[copies, size, size] M for each copy ([size, size] for one), in float64."""
    p, q = (_gram(tensors, group, role) for role in ("writes", "reads"))
    found = torch.stack([_pairs(*each) if group.kind == "rotary" else _mean(*each) for each in zip(p, q, strict=True)])
    return found if group.copies > 1 else found[0]


def _gram(tensors: Mapping[str, Tensor], group: Group, role: str) -> Tensor:
    total = torch.zeros(group.copies, group.size, group.size, dtype=torch.float64)
    for place in group.places:
        if place.role == role:
            rows = units(tensors[place.tensor], place).double()
            total += rows @ rows.mT
    return total


def _mean(p: Tensor, q: Tensor) -> Tensor:
    if any(_poor(torch.linalg.eigvalsh(each)) for each in (p, q)):
        return torch.eye(len(p), dtype=p.dtype)
    half, back = _power(p, 0.5), _power(p, -0.5)
    return _power(back @ _power(half @ q @ half, 0.5) @ back, 0.5)


def _pairs(p: Tensor, q: Tensor) -> Tensor:
    traces = [each.diagonal().reshape(2, -1).sum(0) for each in (p, q)]
    if any(map(_poor, traces)):
        return torch.eye(len(p), dtype=p.dtype)
    return torch.diag((traces[1] / traces[0]).pow(0.25).repeat(2))


def _poor(values: Tensor) -> bool:
    return float(values.min()) <= _WORST * float(values.max())


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0).pow(exponent) @ vectors.mT
