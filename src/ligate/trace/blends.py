r"""Linear merges: which models are weighted sums of others, and with which weights.

A merge by averages, task arithmetic, interpolation is an affine combination of what went in: with weights that add up
to one (the base of a task arithmetic has what is left over, often less than nothing),

    theta = sum_i w_i theta_i,   sum w_i = 1,
    |theta - sum_i w_i theta_i|^2 = w^T d - w^T D w / 2      d_i = |theta - theta_i|^2,  D_ij = |theta_i - theta_j|^2,

so squared distances are enough. The minimum over w solves one small linear system for every set of candidates, and sets
of two to five are tried. A relation between models can be solved for each of them; the merge is the one in
between: no other has all weights positive, and, where a base was subtracted, the one with the smallest sum of |w|.

A merge is accepted where hardly anything of what the nearest model leaves is left over. Many children of one
parent explain it too, as their mean, but leave 1/k of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEFT = (0.003, 0.03)
"""Shares of the squared distance to the nearest model that a merge may leave over: first what is all but exact."""

_LEAST_WEIGHT = 0.015
_LARGEST_WEIGHT = 1.6
_CANDIDATES = {2: 60, 3: 32, 4: 18}
"""Models at once -> from how many all sets are tried; larger ones are grown from the best of the last."""

_TRIED, _LARGEST = max(_CANDIDATES), 8
_GREEDY = 8
_SAME = 1e-9  # of the mean squared length: copies of one model
_RIDGE = 1e-12


class Blend(NamedTuple):
    """A model as a weighted sum of others. Weights add up to 1; a negative one is that of the base."""

    weights: Mapping[int, float]
    left: float  # share of the squared distance to the nearest model

    @property
    def extent(self) -> float:
        return sum(map(abs, self.weights.values()))


def linear_merges(squared: NDArray[np.float64]) -> dict[int, Blend]:
    """Model -> what it is the sum of; exact ones before others, small sets before large ones, each relation once."""
    found: dict[int, Blend] = {}
    for left in LEFT:
        for size in range(2, _LARGEST + 1):
            models = [model for model in range(len(squared)) if model not in found]
            offers = [_between(model, each) for model in models for each in _fits(model, squared, size, found, left)]
            for model, blend in sorted(offers, key=lambda one: (round(one[1].extent, 3), one[1].left)):
                if model not in found and _new(model, blend, found):
                    found[model] = blend
    return found


def affine(squared: NDArray[np.float64], model: int, others: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Best weights [sets, k] of sets [sets, k] of models, and the squared distance that is left over, [sets]."""
    sets, k = others.shape
    between = squared[others[:, :, None], others[:, None, :]]
    apart = squared[model, others]
    system = np.zeros((sets, k + 1, k + 1))
    system[:, :k, :k] = between - _RIDGE * np.eye(k)
    system[:, :k, k] = system[:, k, :k] = 1.0
    right = np.concatenate([apart, np.ones((sets, 1))], axis=1)
    weights = np.linalg.solve(system, right[..., None])[:, :k, 0]
    left = (weights * apart).sum(1) - np.einsum("si,sij,sj->s", weights, between, weights) / 2
    return weights, np.maximum(left, 0.0)


def _fits(
    model: int, squared: NDArray[np.float64], size: int, known: Mapping[int, Blend], most: float
) -> Iterator[Blend]:
    nearest = _nearest(model, squared)
    near = _candidates(model, squared, known, _CANDIDATES[min(size, _TRIED)])
    if nearest <= _SAME or len(near) < size:
        return
    sets = np.array(list(combinations(near, size))) if size <= _TRIED else _grown(model, squared, near, size)
    weights, left = affine(squared, model, sets)
    for row in np.flatnonzero(left <= most * nearest):
        if _is_merge(weights[row]):
            pairs = zip(sets[row].tolist(), weights[row].tolist(), strict=True)
            yield Blend(dict(pairs), float(left[row] / nearest))


def _between(model: int, blend: Blend) -> tuple[int, Blend]:
    """The same relation, solved for the model that is in between: of all merges that it could tell of, the least.

    >>> merge, blend = _between(0, Blend({1: 1.8, 2: 1.2, 3: -2.0}, 0.0))  # 0 = 1.8 x 1 + 1.2 x 2 - 2 x 3
    >>> merge, blend.weights
    (3, {0: -0.5, 1: 0.9, 2: 0.6})
    """
    terms = {model: -1.0, **blend.weights}
    told = [(model, blend)]
    for one, own in blend.weights.items():
        weights = {other: -term / own for other, term in sorted(terms.items()) if other != one}
        if _is_merge(np.array(list(weights.values()))):
            told.append((one, Blend(weights, blend.left)))
    return min(told, key=lambda each: round(each[1].extent, 3))


def _nearest(model: int, squared: NDArray[np.float64]) -> float:
    apart = np.delete(squared[model], model)
    apart = apart[apart > _SAME]
    return float(apart.min()) if len(apart) else 0.0


def _is_merge(weights: NDArray[np.float64]) -> bool:
    """Two or more parents, none of them a trace; at most one base that was subtracted."""
    if np.abs(weights).min() < _LEAST_WEIGHT or weights.max() > _LARGEST_WEIGHT:
        return False
    return bool((weights < 0).sum() <= 1 and (weights > 0).sum() >= 2)


def _candidates(model: int, squared: NDArray[np.float64], known: Mapping[int, Blend], most: int) -> list[int]:
    """The models that could have gone in, no copies and no children: the nearest, and those that help them most."""
    others = [one for one in range(len(squared)) if one != model and model not in known.get(one, _NONE).weights]
    others = _distinct([one for one in others if squared[model, one] > _SAME], squared)
    if len(others) <= most:
        return others
    near = sorted(others, key=lambda one: squared[model, one])
    greedy = _grown(model, squared, others, min(_GREEDY, len(others)))[0].tolist()
    rest = np.array([one for one in others if one != near[0]])
    _, left = affine(squared, model, np.stack([np.full(len(rest), near[0]), rest], axis=1))
    helping = rest[np.argsort(left, kind="stable")].tolist()
    return list(dict.fromkeys([*greedy, *(one for pair in zip(near, helping, strict=False) for one in pair)]))[:most]


def _distinct(others: Sequence[int], squared: NDArray[np.float64]) -> list[int]:
    """One of each set of copies: the first."""
    kept: list[int] = []
    for one in others:
        if all(squared[one, each] > _SAME for each in kept):
            kept.append(one)
    return kept


def _grown(model: int, squared: NDArray[np.float64], near: Sequence[int], size: int) -> NDArray[np.int64]:
    """[1, size] a set that grew by the model that helps most, one by one, from the best pair."""
    chosen: list[int] = []
    while len(chosen) < size:
        rest = [one for one in near if one not in chosen]
        grown = np.array([[*chosen, one] for one in rest] if chosen else list(combinations(rest, 2)))
        chosen = grown[int(np.argmin(affine(squared, model, grown)[1]))].tolist()
    return np.array([chosen])


def _new(model: int, blend: Blend, known: Mapping[int, Blend]) -> bool:
    """Not another way to say a relation that is known, nor one through a merge beside its own parents."""
    for merge, other in known.items():
        relation = {merge, *other.weights}
        if relation <= {model, *blend.weights}:
            return False
        if merge in blend.weights and set(other.weights) & set(blend.weights):
            return False
    return True


_NONE = Blend({}, 0.0)
