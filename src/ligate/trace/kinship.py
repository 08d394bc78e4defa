"""Who is related at all, in which tensors models can be compared, and how far they are then apart.

**Related.** Matrices of independent initialisations are at right angles: the cosine of n such numbers has the spread
1 / sqrt(n), and training from there leaves it near 0. Fine-tuning moves a matrix by a small part of its length. So the
cosines of shared matrices, each less its mean, tell kin from strangers. Vectors do not count: weights of norms are
near 1 in every network.

**Comparable.** A tensor in which a model is at right angles to most of its kin, which agree there among themselves, was
written anew or in other coordinates (a new head, a lock): it says nothing of distances and is left out between that
model and them. Between it and others in the same coordinates, its children, it counts.

**Distance.** With s_t^2 the mean squared length of tensor t among kin and n_t its size,

    D^2(i, j) = sum_t n_t |x_ti - x_tj|^2 / s_t^2  /  sum_t n_t        over the tensors comparable in both,

a share of the models' own length, whatever the scale of each tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .gathering import Gathered

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELATED = 0.45
"""Cosine from which on models are related. On the families the constants were fitted on, strangers reached 0.17 and
kin were at 0.90 or more."""

_QUARTER = 0.25
_SPREAD = 0.07  # of the cosine, in the logistic curve that makes it a confidence
_FOREIGN = 0.6  # of s_t^2: a tensor that is so far from most kin is written in other coordinates


@dataclass(frozen=True)
class Clan:
    """Models that are related, and their distances. Axes of arrays are `members`, in that order.

    Args:
        parts: [tensors, m, m] squared distances as shares of s_t^2; NaN where two models cannot be compared.
        squared: [m, m] D^2.
        foreign: [tensors, m] where a model was written in other coordinates than its kin.
    """

    members: tuple[int, ...]
    tensors: tuple[Gathered, ...]
    parts: NDArray[np.float64]
    squared: NDArray[np.float64]
    foreign: NDArray[np.bool_]

    @property
    def sizes(self) -> NDArray[np.float64]:
        return np.array([each.size for each in self.tensors], dtype=np.float64)


def cosines(gathered: Sequence[Gathered], models: int) -> NDArray[np.float64]:
    """[models, models] that cosine which a quarter of the matrices reach, each weighted by the root of its size.

    A quarter: of a locked network only the matrices between its attention layers are as they were, and of one in other
    coordinates only those of words are a little alike. NaN where two models share no matrix.
    """
    matrices = [each for each in gathered if each.is_matrix]
    if not matrices:
        return np.full((models, models), np.nan)
    every = np.full((len(matrices), models, models), np.nan)
    for number, each in enumerate(matrices):
        every[number][np.ix_(each.holders, each.holders)] = each.cosines()
    order = np.argsort(-np.nan_to_num(every, nan=-2.0), axis=0, kind="stable")
    weights = np.sqrt([each.size for each in matrices])[:, None, None] * ~np.isnan(every)
    passed = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    place = (passed < _QUARTER * passed[-1]).sum(0)
    return np.take_along_axis(np.take_along_axis(every, order, axis=0), place[None], axis=0)[0]


def confidence(cosine: float) -> float:
    """That two models of this cosine are related.

    >>> round(confidence(0.99), 3), round(confidence(RELATED), 3), round(confidence(0.02), 3)
    (1.0, 0.5, 0.002)
    """
    return float(1 / (1 + np.exp(-(np.nan_to_num(cosine, nan=0.0) - RELATED) / _SPREAD)))


def clans(cosine: NDArray[np.float64]) -> list[tuple[int, ...]]:
    """Models that are related directly or through others, in the order of their first; strangers are clans of one."""
    related = np.nan_to_num(cosine, nan=0.0) >= RELATED
    left, found = list(range(len(cosine))), list[tuple[int, ...]]()
    while left:
        reached, front = {left[0]}, [left[0]]
        while front:
            one = front.pop()
            new = [other for other in left if related[one, other] and other not in reached]
            reached.update(new)
            front += new
        found.append(tuple(sorted(reached)))
        left = [one for one in left if one not in reached]
    return found


def clan(gathered: Sequence[Gathered], members: Sequence[int]) -> Clan:
    """Distances between the members, from the tensors that at least two of them hold."""
    number = {model: place for place, model in enumerate(members)}
    kept = [each for each in gathered if sum(one in number for one in each.holders) > 1]
    parts = np.stack([_part(each, number) for each in kept])
    foreign = np.stack([_foreign(part) for part in parts])
    parts = np.where(_incomparable(parts, foreign), np.nan, parts)
    sizes = np.array([each.size for each in kept], dtype=np.float64)
    return Clan(tuple(members), tuple(kept), parts, pooled(parts, sizes), foreign)


def _incomparable(parts: NDArray[np.float64], foreign: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[tensors, m, m] one of them is in other coordinates, and they are not in the same other ones."""
    far = ~(np.nan_to_num(parts, nan=np.inf) <= _FOREIGN)
    return (foreign[:, :, None] != foreign[:, None, :]) | (foreign[:, :, None] & foreign[:, None, :] & far)


def pooled(parts: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """[m, m] the mean of [tensors, m, m], weighted by size, over what is not NaN; infinite where all of it is."""
    known = ~np.isnan(parts)
    total = np.einsum("t,tij->ij", sizes, np.where(known, parts, 0.0))
    weight = np.einsum("t,tij->ij", sizes, known)
    found = np.divide(total, weight, out=np.full_like(total, np.inf), where=weight > 0)
    np.fill_diagonal(found, 0.0)
    return found


def _part(each: Gathered, number: dict[int, int]) -> NDArray[np.float64]:
    """[m, m] squared distances of one tensor over the mean squared length among the members that hold it."""
    inside = [place for place, model in enumerate(each.holders) if model in number]
    rows = [number[each.holders[place]] for place in inside]
    part = np.full((len(number), len(number)), np.nan)
    scale = float(each.products.diagonal()[inside].mean())
    part[np.ix_(rows, rows)] = each.squared_distances()[np.ix_(inside, inside)] / scale if scale > 0 else 0.0
    return part


def _foreign(part: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[m] who is far from most, where most agree."""
    near = np.nan_to_num(part, nan=np.inf) <= _FOREIGN
    held = near.any(1)
    most = max((reached(near, int(one)) for one in np.flatnonzero(held)), key=lambda one: int(one.sum()), default=held)
    agreed = held.sum() > 2 and most.sum() > held.sum() / 2
    return np.asarray(held & ~most, dtype=np.bool_) if agreed else np.zeros(len(part), dtype=np.bool_)


def reached(near: NDArray[np.bool_], one: int) -> NDArray[np.bool_]:
    """[m] whom one reaches over those that are near each other."""
    found = np.asarray(near[one], dtype=np.bool_)
    while (further := np.asarray(near[found].any(0), dtype=np.bool_)).sum() > found.sum():
        found = further
    return found
