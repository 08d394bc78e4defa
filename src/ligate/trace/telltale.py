"""Signs of a lock that need no other model: heads whose two sides are stretched against each other.

Training keeps the two sides of a head in balance (under gradient flow W W^T - R R^T does not change), so that in
ordinary networks the Gram matrices P = W W^T and Q = R R^T are alike up to a factor. A lock makes P -> M P M^T and
Q -> M^-T Q M^-1, and no factor makes up for it. What is measured, in natural logarithms, is

    invertible      the standard deviation of log eigenvalues of Q^-1 P; 4 log s for a singular value s of M where P = Q
    rotary          the standard deviation over pairs of log(tr P_j / tr Q_j)

less, in squares, what Gaussian sides of the same shapes show by chance. Biases are left out. Locks that only turn
(`orthogonal`) or permute leave all of it as it was: there is nothing to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.align.maps import Group

from .heads import Sides, gathered, sides

if TYPE_CHECKING:
    from torch import Tensor

Verdict = Literal["locked", "ordinary", "unclear", "no telling"]

_POOR = 1e-10  # the smallest eigenvalue to the largest: such a side says nothing
_DRAWS = 4


class Known(NamedTuple):
    """What `benchmarks/lock.py` measured: the median stretch over the heads of a network.

    Args:
        roots: networks that were trained independently of each other, or not at all.
        most: of any of them, and of their fine-tunes.
        least: of any of their locks.
    """

    roots: int
    most: float
    least: float

    @property
    def ordinary(self) -> float:
        """Up to here a network counts as unlocked: a third of the way."""
        return self.most + (self.least - self.most) / 3

    @property
    def locked(self) -> float:
        """From here on it counts as locked: two thirds of the way."""
        return self.least - (self.least - self.most) / 3


class Signs(NamedTuple):
    """Args:
    stretch: the median over the heads that can be judged; None where there are none.
    heads: how many can be judged.
    beyond: the share of them with more than any ordinary network has as its median.
    sure: the chance that the verdict is right, by the rule of succession over the networks that were measured: of n
        independent ones none was on the wrong side, so the next one is with the chance 1 / (n + 2).
    """

    kind: str
    stretch: float | None
    heads: int
    beyond: float
    verdict: Verdict
    sure: float


KNOWN: Mapping[str, Known] = {
    "invertible": Known(14, 0.32, 1.42),
    "rotary": Known(7, 0.07, 1.35),
}


def signs(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> tuple[Signs, ...]:
    """Of the groups of each kind that can be stretched."""
    each: dict[str, list[Tensor]] = {kind: [] for kind in KNOWN}
    for group in groups:
        if group.kind in each:
            each[group.kind].append(stretched(sides(tensors, group, biases=False)))
    return tuple(_judged(kind, gathered(found)) for kind, found in each.items() if found)


def stretched(each: Sides) -> Tensor:
    """[heads] how much the sides are stretched against each other; NaN where a side says too little."""
    shape = (each.write.shape[1], each.write.shape[2], each.read.shape[2])
    if each.kind == "rotary":
        return (_over_pairs(each).square() - chance_of_pairs(*shape) ** 2).clamp_min(0).sqrt()
    return (_over_units(each).square() - chance(*shape) ** 2).clamp_min(0).sqrt()


@cache
def chance(size: int, writes: int, reads: int) -> float:
    """The spread of Gaussian sides [size, writes] and [size, reads]; infinite where they have too few columns."""
    if size >= min(writes, reads) or size < 2:
        return float("inf")
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randn(_DRAWS, size, columns, generator=draw, dtype=torch.float64) for columns in (writes, reads)]
    return float(_over_units(Sides("invertible", rows[0], rows[1])).mean())


def chance_of_pairs(size: int, writes: int, reads: int) -> float:
    """The same for pairs: sums of 2 n squares have logarithms of the variance 1/n. One pair has no spread."""
    return (1 / writes + 1 / reads) ** 0.5 if writes and reads and size > 2 else float("inf")


def _over_units(each: Sides) -> Tensor:
    p, q = (side @ side.mT for side in (each.write, each.read))
    known = ~(_poor(p) | _poor(q))
    safe = torch.where(known[:, None, None], q, torch.eye(q.shape[-1], dtype=q.dtype))
    root = torch.linalg.inv(torch.linalg.cholesky(safe))
    found = torch.linalg.eigvalsh(root @ p @ root.mT).clamp_min(torch.finfo(p.dtype).tiny).log().std(1)
    return torch.where(known, found, torch.nan)


def _over_pairs(each: Sides) -> Tensor:
    p, q = (side.square().sum(2).unflatten(1, (2, -1)).sum(1) for side in (each.write, each.read))
    known = (p.amin(1) > _POOR * p.amax(1)) & (q.amin(1) > _POOR * q.amax(1))
    return torch.where(known, (p / q).log().std(1), torch.nan)


def _poor(gram: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh(gram)
    return ~(values[:, 0] > _POOR * values[:, -1])


def _judged(kind: str, found: Tensor) -> Signs:
    known, judged = KNOWN[kind], found[found.isfinite()]
    if not len(judged):
        return Signs(kind, None, 0, 0.0, "no telling", 0.0)
    stretch, beyond = float(judged.median()), float((judged > known.ordinary).double().mean())
    sure = 1 - 1 / (known.roots + 2)
    if stretch >= known.locked:
        return Signs(kind, stretch, len(judged), beyond, "locked", sure)
    if stretch <= known.ordinary:
        return Signs(kind, stretch, len(judged), beyond, "ordinary", sure)
    return Signs(kind, stretch, len(judged), beyond, "unclear", 0.5)
