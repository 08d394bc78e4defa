"""How two models differ: in how many tensors, by which rank, and how many numbers it takes to say so.

A change costs as many nats as it takes to say it, every row of a tensor up to a small part e of the tensor's mean size:

    cost = sum_t f_t * mean over rows of  log(1 + mean over the row of (change / e)^2) / 2

f_t is the freedom of the change: rank (rows + columns - rank) for a matrix changed by low rank, all of its elements
otherwise; equal rows are free. Plain distances are ruled by the few units that all training moves most, and each of
them in much the same way; all others wander, each training its own way, and a logarithm per row counts them alike.
(Not per element: few steps of Adam move all elements of a row by about as much, and a sum of two such moves is no
nearer for having more small ones.) Where the coordinates are others, all of it is new. A child by low rank may be far
from its parent with nothing in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .kinship import Clan
from .samples import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PRECISION = 1e-6  # e
_ELEMENTS = 1 << 14  # of one tensor
_EQUAL = 1e-13  # of s_t^2: what float64 leaves between equal tensors
_LOW = 1 / 3  # of the sides of a patch: no rank above it is called low
_FLOOR = 1e-3  # of the largest singular value


class Making(NamedTuple):
    """How a child differs from its parent.

    Args:
        equal, changed, foreign: tensors that are the same, that were changed, and that are in other coordinates.
        rank: the largest rank of a change, where most of what was changed was changed by low rank; else None.
    """

    equal: int
    changed: int
    foreign: int
    rank: int | None


def costs(clan: Clan, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """[m, m] nats per element; infinite where two models have no comparable tensor."""
    freedom = _freedom(clan, samples)
    total = np.zeros_like(clan.squared)
    weight = np.zeros_like(clan.squared)
    for number, each in enumerate(clan.tensors):
        held = np.isin(clan.members, each.holders)
        total += freedom[number] * _nats(_sample_of(clan, samples, number), clan.members)
        weight += each.size * np.outer(held, held)
    known = (~np.isnan(clan.parts)).any(0)
    found = np.divide(total, weight, out=np.full_like(total, np.inf), where=known & (weight > 0))
    np.fill_diagonal(found, 0.0)
    return found


def _nats(sample: Sample, members: Sequence[int]) -> NDArray[np.float64]:
    """[m, m] mean over the rows of one tensor; 0 for models that do not hold it."""
    places = [place for place, model in enumerate(members) if model in sample.holders]
    rows = [sample.holders.index(members[place]) for place in places]
    values = sample.values[rows].reshape(len(rows), sample.rows, sample.columns).astype(np.float64)
    values = values[:, :, :: max(1, values[0].size // _ELEMENTS)]
    values /= _PRECISION * max(float(np.sqrt((values * values).mean())), 1e-30)
    found = np.zeros((len(members), len(members)))
    for number, place in enumerate(places):
        apart = values[number + 1 :] - values[number]
        nats = np.log1p((apart * apart).mean(axis=2)).mean(axis=1) / 2
        found[place, places[number + 1 :]] = found[places[number + 1 :], place] = nats
    return found


def making(clan: Clan, samples: Sequence[Sample], child: int, parent: int) -> Making:
    """What kind of change leads from one to the other."""
    part = clan.parts[:, child, parent]
    changed = np.flatnonzero(part > _EQUAL).tolist()
    ranks = {
        each: _rank(_sample_of(clan, samples, each), clan.members[child], clan.members[parent]) for each in changed
    }
    low = [each for each, rank in ranks.items() if rank]
    mostly = clan.sizes[low].sum() > clan.sizes[changed].sum() / 2
    return Making(
        int((part <= _EQUAL).sum()),
        len(changed),
        int((clan.foreign[:, child] | clan.foreign[:, parent]).sum()),
        max(rank for rank in ranks.values() if rank) if mostly else None,
    )


def _freedom(clan: Clan, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """[tensors, m, m]; ranks are only looked for between models that have a tensor in common, as adapters leave."""
    freedom = np.broadcast_to(clan.sizes[:, None, None], clan.parts.shape).copy()
    equal = clan.parts <= _EQUAL
    for i, j in zip(*np.nonzero(np.triu(equal.any(0), 1)), strict=True):
        for tensor in np.flatnonzero(clan.parts[:, i, j] > _EQUAL).tolist():
            sample = _sample_of(clan, samples, tensor)
            rank = _rank(sample, clan.members[i], clan.members[j])
            if rank:
                freedom[tensor, i, j] = freedom[tensor, j, i] = rank * (sample.height + sample.width - rank)
    return freedom


def _sample_of(clan: Clan, samples: Sequence[Sample], tensor: int) -> Sample:
    each = clan.tensors[tensor]
    return next(one for one in samples if one.name == each.name and one.holders == each.holders)


def _rank(sample: Sample, one: int, other: int) -> int | None:
    """The rank of a change as its patch shows it, up to rounding; None where it is no low one."""
    side = min(sample.rows, sample.columns)
    if side * _LOW < 1 or not sample.width:
        return None
    a, b = (sample.values[sample.holders.index(model)].astype(np.float64) for model in (one, other))
    apart = (a - b).reshape(sample.rows, sample.columns)
    found = np.linalg.svd(apart, compute_uv=False)
    rounding = _unit(a, b) * float(np.sqrt((a @ a + b @ b) / 2))
    rank = int((found > max(_FLOOR * found[0], rounding)).sum())
    return rank if 0 < rank <= side * _LOW else None


def _unit(*values: NDArray[np.float64]) -> float:
    """The largest rounding unit of the types in which the values can be stored."""
    bits = [np.ascontiguousarray(each.astype(np.float32)).view(np.uint32) for each in values]
    return max(
        2.0**-8 if not (each & 0xFFFF).any() else 2.0**-11 if not (each & 0x1FFF).any() else 2.0**-24 for each in bits
    )
