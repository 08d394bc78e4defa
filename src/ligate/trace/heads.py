"""The two sides of a head, and what of them is function and what only coordinates.

Between queries and keys, and between values and what reads them, nothing but matrices meets the d units of a head: W,
the rows that bring them forth, and R, those that take them in (biases are one more column). For any M of the kind,

    W -> M W        R -> M^-T R

changes both sides and not what they compute. What stays the same is, by kind,

    invertible      R^T W
    rotary          conj(r_j) w_j^T for each pair j of units as one complex row: M is a complex number for each pair
    orthogonal      X^T X, X = [W, R]: both sides turn alike

Inner products of these large matrices need only the small ones between the rows: <R_a^T W_a, R_b^T W_b> is the sum over
all entries of (R_a R_b^T) * (W_a W_b^T).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.align.maps import Group, Kind, units

if TYPE_CHECKING:
    from torch import Tensor

_WITHIN = ("invertible", "rotary", "orthogonal")


class Sides(NamedTuple):
    """Both sides of every head of a group, in float64: [heads, d, columns]; columns differ between the two."""

    kind: Kind
    write: Tensor
    read: Tensor

    @property
    def joined(self) -> Tensor:
        return torch.cat([self.write, self.read], 2)

    @property
    def norms(self) -> Tensor:
        """[heads]"""
        return (self.write.square().sum((1, 2)) + self.read.square().sum((1, 2))).sqrt()


class Apart(NamedTuple):
    """How far two models are from each other, head by head, as shares of the second: [heads] each."""

    weights: Tensor  # the numbers as they are
    function: Tensor  # what the two sides compute together


def in_heads(groups: Iterable[Group]) -> list[Group]:
    """The groups that lie inside of attention heads, or between two matrices as inside of a head.

    Streams are left out: norms look at them, or they are permuted only.
    """
    return [group for group in groups if group.kind in _WITHIN and not _normed(group)]


def sides(tensors: Mapping[str, Tensor], group: Group, *, biases: bool = True) -> Sides:
    """The rows of a group of `in_heads`. Without `biases`, vectors are left out."""
    found: dict[str, list[Tensor]] = {"writes": [], "reads": []}
    for place in group.places:
        value = tensors[place.tensor]
        if biases or value.ndim > 1:
            found["reads" if place.role == "reads" else "writes"].append(units(value, place).double())
    write, read = (_together(found[role], group) for role in ("writes", "reads"))
    return Sides(group.kind, write, read)


def apart(a: Sides, b: Sides) -> Apart:
    """How far `a` is from `b`. Heads whose numbers are all zero in `b` are told as NaN or infinitely far."""
    moved = (a.write - b.write).square().sum((1, 2)) + (a.read - b.read).square().sum((1, 2))
    squared = product(a, a) + product(b, b) - 2 * product(a, b)
    return Apart(moved.sqrt() / b.norms, squared.clamp_min(0).sqrt() / product(b, b).sqrt())


def product(a: Sides, b: Sides) -> Tensor:
    """[heads] the inner product of what the heads of two models compute."""
    if a.kind == "orthogonal":
        return (a.joined @ b.joined.mT).square().sum((1, 2))
    if a.kind == "rotary":
        reads = (as_pairs(a.read) * as_pairs(b.read).conj()).sum(2)
        writes = (as_pairs(a.write).conj() * as_pairs(b.write)).sum(2)
        return (reads * writes).real.sum(1)
    return ((a.read @ b.read.mT) * (a.write @ b.write.mT)).sum((1, 2))


def as_pairs(rows: Tensor) -> Tensor:
    """[heads, d, columns] -> [heads, d/2, columns] complex: rows j and j + d/2, which turn together."""
    first, second = rows.chunk(2, 1)
    return torch.complex(first, second)


def gathered(each: Sequence[Tensor]) -> Tensor:
    """The heads of all groups in one row."""
    return torch.cat(list(each)) if each else torch.zeros(0, dtype=torch.float64)


def _together(parts: Sequence[Tensor], group: Group) -> Tensor:
    return torch.cat(list(parts), 2) if parts else torch.zeros(group.copies, group.size, 0, dtype=torch.float64)


def _normed(group: Group) -> bool:
    return any(place.role in ("scales", "shifts") or place.scale for place in group.places)
