r"""Merges in the space of singular vectors: Iso-C, TSV-Merge, KnOTS. They are no sums, but their matrices show them.

With tau = theta - base for a base and tau_i = theta_i - base, each a matrix,

    Iso-C       tau = c P, P the polar factor of sum_i tau_i: all singular values are equal, and
                tau_S - (tau_S P^T + P tau_S^T) P / 2 = 0     for tau_S = sum_i tau_i and for no other set
    TSV-Merge   the singular values of tau are those of all tau_i together, the n / K largest of each, times one number
    KnOTS       TIES of the coordinates U^T tau_i, U the left singular vectors of [tau_1 .. tau_K]; of what is no
                matrix, TIES as it is (selections.py), which says whom to try

The first two hold for dozens of numbers up to rounding, or not at all. Large matrices are not looked at (samples.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .selections import COVERED, Selection, covered, descends, selections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]  # [models, rows, columns]

_LEAST = 8  # equal singular values
_FLAT = 0.01  # of the largest: how far equal ones may be apart
_EXACT = 1e-4  # share of the energy of a sum that may be left over
_ZERO = 2e-3  # of the largest singular value
_SIZES = {2: 48, 3: 32, 4: 20}  # models at once -> among how many
_BASES = 3
_TRIED = 48  # choices that are the same in what is no matrix


class Singular(NamedTuple):
    """A model as a merge of its parents' changes from a base, in singular vectors."""

    base: int
    parents: tuple[int, ...]


def singular_merges(
    matrices: Sequence[Matrix],
    squared: NDArray[np.float64],
    made: Mapping[int, Sequence[int]],
    bases: Sequence[int],
    values: NDArray[np.float64],
) -> dict[int, Singular]:
    """Model -> what it was merged from.

    Args:
        matrices: some whole ones that all models hold.
        squared: [m, m] their squared distances.
        made: what is known to be made of others -> what went in.
        bases: models that merges were seen from.
        values: [m, n] elements of what is no matrix.
    """
    usable = [each for each in map(_lying, matrices) if min(each.shape[1:]) >= _LEAST]
    if not usable:
        return {}
    center = np.median(squared, axis=1)
    central = np.argsort(center, kind="stable")[:_BASES].tolist()
    spectra = {base: [_spectra(each - each[base]) for each in usable] for base in dict.fromkeys([*bases, *central])}
    offers = selections(values, squared, made)
    found: dict[int, Singular] = {}
    known = dict(made)
    for model in (one for one in range(len(squared)) if one not in made):
        others = [one for one in range(len(squared)) if not descends(one, model, known)]
        others = sorted(others, key=lambda one: squared[model, one])
        seen = _levelled(model, usable, others, center) or _united(model, spectra, others)
        if not seen and model in offers:
            seen = _chosen(model, matrices, offers[model], values, others)
        if seen:
            found[model] = seen
            known[model] = (seen.base, *seen.parents)
    return found


def _lying(each: Matrix) -> Matrix:
    return each if each.shape[1] <= each.shape[2] else each.swapaxes(1, 2)


def _spectra(changes: Matrix) -> NDArray[np.float64]:
    """[models, side] singular values, the largest first."""
    return np.asarray(np.linalg.svd(changes, compute_uv=False), dtype=np.float64)


def _sets(among: Sequence[int]) -> Iterator[NDArray[np.int64]]:
    for size, most in _SIZES.items():
        if len(among) >= size:
            yield np.array(list(combinations(among[:most], size)))


def _levelled(
    model: int, matrices: Sequence[Matrix], others: Sequence[int], center: NDArray[np.float64]
) -> Singular | None:
    """Iso-C. Its base, seen from the merge, is levelled too; mostly some H has negative values then."""
    for base in others:
        moved = [each for each in matrices if (each[model] != each[base]).any()]
        if moved and all(_is_flat(each[model] - each[base]) for each in moved):
            among = [one for one in others if one != base]
            changes = [each[among] - each[base] for each in moved]
            left = [_beside(change, each[model] - each[base]) for change, each in zip(changes, moved, strict=True)]
            parents = _smallest(_inner(left), _inner(changes))
            if parents is None:
                continue
            told = tuple(sorted(among[one] for one in parents))
            turned = _is_positive(moved, base, model, told) and center[model] <= center[base]
            if _is_positive(moved, model, base, told) and not turned:
                return Singular(base, told)
    return None


def _is_positive(matrices: Sequence[Matrix], model: int, base: int, parents: Sequence[int]) -> bool:
    """Whether no H that the sum of the parents' changes has beside the merge's has a negative value."""
    for each in matrices:
        both = (each[list(parents)] - each[base]).sum(0) @ (each[model] - each[base]).T
        values = np.linalg.eigvalsh(both + both.T)
        if values[0] < -_ZERO * np.abs(values).max():
            return False
    return True


def _is_flat(change: NDArray[np.float64]) -> bool:
    """All singular values are equal or zero. The effective rank tr(G)^2 / tr(G^2) is then a whole number."""
    gram = change @ change.T
    energy = float(np.square(gram).sum())
    rank = float(np.trace(gram)) ** 2 / energy if energy > 0 else 0.0
    if rank < _LEAST - _FLAT or abs(rank - round(rank)) > _FLAT * rank:
        return False
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))
    return bool(values[round(rank) - 1] >= (1 - _FLAT) * values[0])


def _beside(changes: Matrix, levelled: NDArray[np.float64]) -> Matrix:
    """What of each change is not H P with a symmetric H."""
    polar = levelled / np.sqrt(float(np.square(levelled).sum()) / _rank(levelled))
    both = changes @ polar.T
    return changes - (both + both.swapaxes(1, 2)) @ polar / 2


def _rank(levelled: NDArray[np.float64]) -> int:
    gram = levelled @ levelled.T
    return round(float(np.trace(gram)) ** 2 / float(np.square(gram).sum()))


def _inner(parts: Sequence[Matrix]) -> NDArray[np.float64]:
    """[k, k]"""
    return np.sum([flat @ flat.T for flat in (each.reshape(len(each), -1) for each in parts)], axis=0)


def _smallest(left: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The first set of models whose sum leaves all but nothing over."""
    for sets in _sets(range(len(left))):
        inside = sets[:, :, None], sets[:, None, :]
        share = left[inside].sum((1, 2)) / np.maximum(whole[inside].sum((1, 2)), np.finfo(float).tiny)
        if share.min() <= _EXACT:
            return sets[int(np.argmin(share))]
    return None


def _united(model: int, spectra: Mapping[int, Sequence[NDArray[np.float64]]], others: Sequence[int]) -> Singular | None:
    """TSV-Merge."""
    for base, values in spectra.items():
        if base == model or base not in others or not values[0][model, 0] > 0:
            continue
        for every in _sets([one for one in others if one != base]):
            sets = _agreeing(model, values, every)
            counts = np.any([each[sets, 0].min(1) > _ZERO * each[model, 0] for each in values], axis=0)
            if counts.any():
                return Singular(base, tuple(sorted(sets[int(np.argmax(counts))].tolist())))
    return None


def _agreeing(model: int, values: Sequence[NDArray[np.float64]], sets: NDArray[np.int64]) -> NDArray[np.int64]:
    for each in values:
        sets = sets[_alike(each[model], each, sets)]
    return sets


def _alike(own: NDArray[np.float64], values: NDArray[np.float64], sets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[sets] whether the largest values of the models of a set together are `own` up to a factor."""
    count = sets.shape[1]
    top = values[:, : max(1, own.shape[0] // count)]
    total, energy = top.sum(1)[sets].sum(1), np.square(top).sum(1)[sets].sum(1)
    if not own[0] > 0:
        return energy == 0
    told = float(own.sum()) ** 2 / float(np.square(own).sum())  # of what does not depend on the factor
    found = np.abs(np.divide(total**2, energy, out=np.zeros_like(total), where=energy > 0) / told - 1) < _ZERO
    for row in np.flatnonzero(found):
        together = np.sort(top[sets[row]].ravel())[::-1]
        together = np.pad(together, (0, max(0, len(own) - len(together))))[: len(own)]
        off = own - together * float(own @ together) / float(together @ together)
        found[row] = np.square(off).sum() <= (_ZERO * own[0]) ** 2
    return found


def _chosen(
    model: int, matrices: Sequence[Matrix], picked: Selection, values: NDArray[np.float64], others: Sequence[int]
) -> Singular | None:
    """KnOTS, where a choice explains what is no matrix, and the same choice in common coordinates all else.

    By low rank only matrices are tuned: such models are the same to the first choice, and each is tried.
    """
    alike = [[one for one in others if np.array_equal(values[one], values[each])] for each in picked.parents]
    bases = [one for one in others if np.array_equal(values[one], values[picked.base])]
    best, told = 0.0, None
    for base, *parents in islice(product(bases, *alike), _TRIED):
        share = float(np.mean([_covered(each, model, base, parents) for each in matrices]))
        if share > best:
            best, told = share, Singular(base, tuple(sorted(parents)))
    return told if best >= COVERED else None


def _covered(each: Matrix, model: int, base: int, parents: Sequence[int]) -> float:
    changes = each[list(parents)] - each[base]
    if not changes.any():
        return 0.0
    vectors, values, _ = np.linalg.svd(np.concatenate(list(changes), axis=1), full_matrices=False)
    vectors = vectors[:, values > 1e-6 * values[0]]
    own = vectors.T @ (each[model] - each[base])
    return covered(own.ravel(), [(vectors.T @ change).ravel() for change in changes])
