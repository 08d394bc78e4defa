r"""Merges that choose element by element: TIES, DARE, breadcrumbs, swaps of layers.

Such a rule takes the changes tau_i = theta_i - base of its parents and at each element keeps those of some subset S of
them (what was trimmed, dropped or outvoted is left out):

    tau = s_S * sum_{i in S} a_i tau_i        a_i the scale where i stands alone, s_S one number per subset

(1 where what is kept is added, 1/|S| where its mean is taken). Where i stands alone the ratio tau / tau_i is the same
number at every such element, and ratios of numbers that have nothing to do with each other have no such atom. So
parents are found one by one: the model whose ratios have the largest atoms, alone and together with those found
before. What counts is the share of tau in atoms (half by its energy, half by its elements), less what their
neighbourhood would have there by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COVERED = 0.5
"""Share of a model's change that atoms must cover."""

_WIDTH = 0.01  # of a ratio: half the width of an atom
_RANGE = (0.02, 50.0)
_ALIKE = 0.03  # shares of coverage that are as good as each other
_FIRST, _FURTHER = 0.08, 0.04  # shares that a first and each further parent must add
_MOST = 4  # parents
_BASES = 3
_EQUAL = 0.004  # share of elements that a base has in common with what was trimmed from it
_COPY = 2e-3  # of the squared distance to the base: who is so near is a copy or nearly one
_ROUNDING = 4 * 2.0**-24
_ROUNDED = 1e-4  # of a mean change, in coordinates that were computed


class Selection(NamedTuple):
    """A model as a choice among the changes of its parents."""

    base: int
    parents: tuple[int, ...]
    covered: float
    scale: float  # the largest with which a parent stands alone


_ELEMENTS = 1 << 13


def selections(
    values: NDArray[np.float64], squared: NDArray[np.float64], linear: Mapping[int, Sequence[int]]
) -> dict[int, Selection]:
    """Model -> how it was chosen together; the best covered first, and nobody from what was made of it.

    Args:
        values: [m, n] the same elements of all models.
        squared: [m, m] their squared distances.
        linear: merges that are known -> what went in.
    """
    values = values[:, :: max(1, values.shape[1] // _ELEMENTS)]
    equal = equal_shares(values)
    offers = {
        model: found
        for model in range(len(values))
        if model not in linear and (found := _best(model, values, squared, equal, linear))
    }
    made: dict[int, Sequence[int]] = dict(linear)
    kept: dict[int, Selection] = {}
    for model, found in sorted(offers.items(), key=lambda one: _rank(one[1], _ALIKE)):
        if not any(descends(parent, model, made) for parent in (*found.parents, found.base)):
            kept[model] = found
            made[model] = (*found.parents, found.base)
    return kept


def equal_shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[m, m] of the elements in which not all models agree, the share in which two do."""
    differing = values[:, (values != values[0]).any(0)]
    found = np.ones((len(values), len(values)))
    for one, other in combinations(range(len(values)), 2):
        found[one, other] = found[other, one] = (differing[one] == differing[other]).mean() if differing.size else 1.0
    return found


def covered(change: NDArray[np.float64], of: Sequence[NDArray[np.float64]]) -> float:
    """The share of a change that is a choice among given ones."""
    fit = _Fit(change, np.full_like(change, _ROUNDED * float(np.sqrt((change * change).mean()))))
    for parent, each in enumerate(of):
        fit.take(parent, each)
    return fit.covered


def descends(model: int, ancestor: int, made: Mapping[int, Sequence[int]]) -> bool:
    """Whether one was made from the other, by way of merges that are known."""
    return model == ancestor or any(descends(one, ancestor, made) for one in made.get(model, ()))


def _best(
    model: int,
    values: NDArray[np.float64],
    squared: NDArray[np.float64],
    equal: NDArray[np.float64],
    made: Mapping[int, Sequence[int]],
) -> Selection | None:
    others = [one for one in range(len(values)) if one != model and model not in made.get(one, ())]
    trimmed = sorted((one for one in others if equal[model, one] >= _EQUAL), key=lambda one: -equal[model, one])
    near = sorted(others, key=lambda one: squared[model, one])
    found = [
        each
        for base in dict.fromkeys([*trimmed[:_BASES], *near[:_BASES]])
        if (each := _from_base(model, base, values, squared, others, made))
    ]
    return min(found, key=lambda each: _rank(each, _ALIKE), default=None)


def _rank(found: Selection, alike: float) -> tuple[float, int, float, float]:
    """Well covered before badly, few parents before many, small factors before large: a base seen from a merge of it
    has the factor s / (s - 1) where the merge has s."""
    return -round(found.covered / alike), len(found.parents), round(found.scale, 1), -found.covered


def _from_base(
    model: int,
    base: int,
    values: NDArray[np.float64],
    squared: NDArray[np.float64],
    others: Sequence[int],
    made: Mapping[int, Sequence[int]],
) -> Selection | None:
    """Greedily; the base is no merge of one of the parents, which would only say the same in more words."""
    tau = values[model] - values[base]
    length = squared[model, base]
    if not tau.any():
        return None
    noise = _ROUNDING * (np.abs(values[model]) + np.abs(values[base]))
    fit = _Fit(tau, noise)
    possible = [
        one
        for one in others
        if one not in (base, *made.get(base, ())) and min(squared[model, one], squared[base, one]) > _COPY * length
    ]
    changes = {one: values[one] - values[base] for one in possible}
    while len(fit.parents) < _MOST and (rest := [one for one in possible if one not in fit.parents]):
        gains = {one: fit.gain(changes[one]) for one in rest}
        best = max(rest, key=lambda one: gains[one])
        if gains[best] < (_FURTHER if fit.parents else _FIRST):
            break
        fit.take(best, changes[best])
    if len(fit.parents) < 2 or fit.covered < COVERED:
        return None
    return Selection(base, tuple(sorted(fit.parents)), fit.covered, max(fit.scales))


class _Fit:
    """What the parents found so far cover of a change."""

    def __init__(self, tau: NDArray[np.float64], noise: NDArray[np.float64]) -> None:
        self.tau, self.noise = tau, noise
        self.open = np.abs(tau) > noise
        self.energy = tau * tau / (2 * float(tau @ tau)) + self.open / (2 * max(1, int(self.open.sum())))
        self.covered = 0.0
        self.parents: list[int] = []
        self.scales: list[float] = []
        self._scaled: list[NDArray[np.float64]] = []

    def gain(self, change: NDArray[np.float64]) -> float:
        return sum(share for _, _, share in self._atoms(change))

    def take(self, parent: int, change: NDArray[np.float64]) -> None:
        for number, (scale, inside, share) in enumerate(self._atoms(change)):
            self.covered += share
            self.open &= ~inside
            if number == 0:
                self.scales.append(scale)
                self._scaled.append(scale * change)
        self.parents.append(parent)

    def _atoms(self, change: NDArray[np.float64]) -> list[tuple[float, NDArray[np.bool_], float]]:
        """Of the change alone, then together with every subset of the parents known: scale, elements, share."""
        scale, inside, share = _atom(self.tau, change, self.energy, self.noise, self.open)
        found = [(scale, inside, share)]
        still = self.open & ~inside
        for size in range(1, len(self._scaled) + 1):
            for subset in combinations(self._scaled, size):
                together = scale * change + np.sum(subset, axis=0)
                ratio, inside, share = _atom(self.tau, together, self.energy, self.noise, still)
                if min(abs(ratio - 1), abs(ratio * (size + 1) - 1)) <= 2 * _WIDTH:
                    found.append((ratio, inside, share))
                    still = still & ~inside
        return found


def _atom(
    tau: NDArray[np.float64],
    change: NDArray[np.float64],
    energy: NDArray[np.float64],
    noise: NDArray[np.float64],
    still: NDArray[np.bool_],
) -> tuple[float, NDArray[np.bool_], float]:
    """The ratio that most of the energy has, where, and how much more than around it. A change must not be noise."""
    usable = still & (np.abs(change) > noise) & (tau * change > 0)
    ratio = np.divide(tau, change, out=np.zeros_like(tau), where=usable)
    usable &= (ratio > _RANGE[0]) & (ratio < _RANGE[1])
    if not usable.any():
        return 1.0, usable, 0.0
    logs, weights = np.log(ratio[usable]), energy[usable]
    bins = np.floor((logs - np.log(_RANGE[0])) / _WIDTH).astype(np.int64)
    counted = np.bincount(bins, weights, minlength=2)
    peak = int(np.argmax(counted[:-1] + counted[1:]))
    around = (bins >= peak) & (bins <= peak + 1)
    scale = float(np.exp(np.average(logs[around], weights=weights[around])))
    off = np.abs(tau - scale * change)
    inside = usable & (off <= _WIDTH * np.abs(tau) + noise)
    ring = usable & ~inside & (off <= 3 * _WIDTH * np.abs(tau) + noise)
    return scale, inside, max(0.0, float(energy[inside].sum() - energy[ring].sum() / 2))
