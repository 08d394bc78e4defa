"""Children that nothing was trained in: equal, rounded, pruned, locked copies. These tell by themselves who was first.

Rounding and pruning lose what cannot be put back, so a model whose every element is the rounded one of another was made
from it. Levels of an integer type are found without knowing its scale: within a row of the copy the distinct values are
at least one step apart, and no element of the original is further than half a step from the copy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from .kinship import Clan
from .samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["copied", "rounded", "quantised", "pruned", "locked"]

_ALL = 0.995  # of the elements: a kind of copy allows as many exceptions
_PRUNED = 0.02  # share of zeros that the original does not have
_EQUAL = 1e-13  # of the mean squared length of a tensor: what float64 leaves between equal ones
_LEAST = 0.2  # of all elements must be comparable, to know a model that was locked
_HALF = 0.505  # of a step, with the rounding of what is stored


class Copy(NamedTuple):
    parent: int
    kind: Kind


def copies(
    samples: Sequence[Sample],
    members: Sequence[int],
    squared: NDArray[np.float64],
    moved: frozenset[int] = frozenset(),
    near: float = 0.2,
) -> dict[int, Copy]:
    """Copy -> its original and how it was made; numbers are places among the members.

    Of equal ones the original is the first that was not reordered (`moved` has the models that were).
    """
    found: dict[int, Copy] = {}
    for model in range(len(members)):
        closest = np.argsort(squared[model], kind="stable")
        for one in (int(each) for each in closest if each != model and squared[model, each] < near):
            kind = _kind(samples, members[model], members[one])
            older = (members[one] in moved, one) < (members[model] in moved, model)
            if kind and (kind != "copied" or older) and found.get(one, _NOBODY).parent != model:
                found[model] = Copy(one, kind)
                break
    return found


def relocated(clan: Clan, twins: frozenset[int] = frozenset()) -> dict[int, Copy]:
    """Models that are equal to another wherever both are in the same coordinates, and elsewhere in their own: locks.

    `twins` are copies of others, which count for them.
    """
    found: dict[int, Copy] = {}
    for model in np.flatnonzero(clan.foreign.any(0)).tolist():
        own = clan.parts[:, model]  # [tensors, m]
        shared = ~np.isnan(own)
        equal = shared.any(0) & (np.where(shared, own, 0.0) <= _EQUAL).all(0)
        usual = ~clan.foreign[clan.foreign[:, model]].any(0)
        enough = clan.sizes @ shared >= _LEAST * clan.sizes.sum()
        originals = [one for one in np.flatnonzero(equal & usual & enough).tolist() if one not in twins]
        if originals:
            found[model] = Copy(originals[0], "locked")
    return found


_NOBODY = Copy(-1, "copied")


def _kind(samples: Sequence[Sample], copy: int, original: int) -> Kind | None:
    pairs = [_pair(each, copy, original) for each in samples if copy in each.holders and original in each.holders]
    if all(np.array_equal(a, b) for a, b in pairs):
        return "copied"
    pairs = [(a, b) for a, b in pairs if not np.array_equal(a, b)]
    if _share([(a == _half(b)) | (a == _brain(b)) for a, b in pairs]) >= _ALL:
        return "rounded"
    if _is_pruned(pairs):
        return "pruned"
    matrices = [(a, b) for a, b in pairs if min(a.shape) > 1]
    return "quantised" if matrices and _share([_within_steps(a, b) for a, b in matrices]) >= _ALL else None


def _pair(each: Sample, one: int, other: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    a, b = (each.values[each.holders.index(model)].reshape(each.rows, each.columns) for model in (one, other))
    return a, b


def _share(parts: Sequence[NDArray[np.bool_]]) -> float:
    return sum(int(each.sum()) for each in parts) / max(1, sum(each.size for each in parts))


def _is_pruned(pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> bool:
    kept = _share([(a == b) | (a == 0) for a, b in pairs])
    zeroed = _share([(a == 0) & (b != 0) for a, b in pairs])
    return kept >= _ALL and zeroed >= _PRUNED and _share([a == b for a, b in pairs]) > 0


def _within_steps(copy: NDArray[np.float32], original: NDArray[np.float32]) -> NDArray[np.bool_]:
    ordered = np.sort(copy.astype(np.float64), axis=1)
    gaps = np.diff(ordered, axis=1)
    level = 1e-5 * np.abs(ordered).max(axis=1, keepdims=True)  # less than that apart is one level, stored inexactly
    step = np.where(gaps > level, gaps, np.inf).min(axis=1, keepdims=True)
    off = np.abs(copy.astype(np.float64) - original)
    return (off <= _HALF * step) & (off <= 0.5 * np.abs(ordered).max(axis=1, keepdims=True)) & np.isfinite(step)


def _half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def _brain(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to bfloat16, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
