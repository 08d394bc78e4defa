"""All that is said of one layer of two networks, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.align.analysis.clusters import Clusters, clusters
from ligate.align.analysis.correlation import Correlations, Standard, standard
from ligate.align.analysis.indices import INDICES, Chance, Index, Pair, by_lot, chance, paired
from ligate.align.analysis.matches import Matches, one_to_one, semi_matching
from ligate.align.analysis.sparse import STRENGTHS, Prediction, sparse_prediction
from ligate.core.errors import LigateError

if TYPE_CHECKING:
    from torch import Tensor

_PIXELS = 96
_POINTS = 200
_CLUSTERED = 384  # units of a network: clustering takes the cube of their number


class Wish(NamedTuple):
    """What is calculated.

    Args:
        strengths: of the lasso; none at all leave sparse prediction out.
        clusters: how many; None for a quarter of the narrower network's live units.
        draws: pairings by lot behind `chance`; 0 leaves it out.
        rows: samples that one input gives (places, tokens), one after the other.
        seed: of all draws.
    """

    strengths: Sequence[float] = STRENGTHS
    clusters: int | None = None
    draws: int = 3
    rows: int = 1
    seed: int = 0


class Said(NamedTuple):
    """An index, and what it says of unrelated networks. None where it is not defined."""

    value: float | None
    chance: Chance | None


class Within(NamedTuple):
    """Of one network: its units, those that are dead, and the mean of the largest |correlation| of each with another.

    Where `redundancy` is high, several units do the same, and which one is matched with which is left to chance.
    """

    units: int
    dead: int
    redundancy: float | None


class Cluster(NamedTuple):
    """Units of a and of b that go together; `alike` as in clusters.py."""

    a: int
    b: int
    alike: bool


class Heat(NamedTuple):
    """Correlations of some units of a (rows) with units of b (columns), in whole percent."""

    before: Sequence[Sequence[int]]
    after: Sequence[Sequence[int]]


class Layer(NamedTuple):
    """Two networks in one layer.

    Args:
        samples: rows of activations.
        indices: `matched` (mean correlation one to one), `greedy` (mean of the semi-matching), `shared` (share of
            the units in clusters to which both networks give alike) and those of indices.py.
        matched, greedy: their correlations, falling; at most 200 of them, evenly chosen.
        sparse: the path of the lasso; b from a.
        clusters: the largest first; of wide layers, some matched units, evenly chosen, are clustered.
        heat: before and after matching one to one; the best pairs first.
    """

    name: str
    samples: int
    a: Within
    b: Within
    indices: Mapping[str, Said]
    matched: Sequence[float]
    greedy: Sequence[float]
    sparse: Sequence[Prediction]
    clusters: Sequence[Cluster]
    heat: Heat

    @property
    def comparable(self) -> bool:
        """Whether both networks have live units here."""
        return self.a.dead < self.a.units and self.b.dead < self.b.units


def compared(name: str, a: Tensor, b: Tensor, wish: Wish | None = None) -> Layer:
    """Compare the units of two networks in one layer.

    Args:
        a, b: [samples, units] of the same samples; widths may differ.

    Raises:
        InputError: not the same samples, or scipy is not installed.
        NonFiniteError: activations that are NaN or infinite.
        RecipeError: a wish that these activations cannot fulfil.
    """
    try:
        return _compared(name, a, b, wish or Wish())
    except LigateError as error:
        raise error.inside(layer=name) from None


def _compared(name: str, a: Tensor, b: Tensor, wish: Wish) -> Layer:
    first, second = standard(a), standard(b)
    pair = paired(a, b)
    drawn = by_lot(pair, rows=wish.rows, draws=wish.draws, seed=wish.seed)
    units = {id(each): _units(each, first.live, second.live) for each in (pair, *drawn)}
    found, matched = units[id(pair)]
    alive = bool(found.between.numel())
    return Layer(
        name,
        len(a),
        _within(first, found.a),
        _within(second, found.b),
        {key: Said(index(pair), chance(index, drawn)) for key, index in _indices(wish, units).items()} if alive else {},
        _curve(matched),
        _curve(semi_matching(found.between)),
        sparse_prediction(first, second, wish.strengths) if wish.strengths and alive else [],
        _clusters(found, matched, wish) if alive else [],
        _heat(found, matched),
    )


class _Units(NamedTuple):
    """The live units of a pair, which are matched once for all that wants to know."""

    found: Correlations
    matched: Matches


def _indices(wish: Wish, units: Mapping[int, _Units]) -> Mapping[str, Index]:
    """`units` of each pair by its identity: the networks as they are, and each drawing by lot."""

    def matched(pair: Pair) -> float:
        return units[id(pair)].matched.mean

    def greedy(pair: Pair) -> float:
        return semi_matching(units[id(pair)].found.between).mean

    def shared(pair: Pair) -> float:
        return _grouped(*units[id(pair)], wish).shared

    return {"matched": matched, "greedy": greedy, "shared": shared, **INDICES}


def _units(pair: Pair, a: Tensor, b: Tensor) -> _Units:
    found = _correlations(pair, a, b)
    return _Units(found, one_to_one(found.between))


def _correlations(pair: Pair, a: Tensor, b: Tensor) -> Correlations:
    first, second = (side.square.diagonal()[live].rsqrt() for side, live in ((pair.a, a), (pair.b, b)))
    within = [
        scale[:, None] * side.square[live][:, live] * scale
        for side, live, scale in ((pair.a, a, first), (pair.b, b, second))
    ]
    between = first[:, None] * pair.product[a][:, b] * second
    return Correlations(*(each.clamp(-1, 1) for each in (within[0], within[1], between)))


def _within(units: Standard, own: Tensor) -> Within:
    others = own.abs().fill_diagonal_(0)
    return Within(units.units, units.dead, float(others.amax(1).mean()) if len(others) > 1 else None)


def _clusters(found: Correlations, matched: Matches, wish: Wish) -> list[Cluster]:
    grouped = _grouped(found, matched, wish)
    pairs = zip(grouped.participation().tolist(), grouped.alike().tolist(), strict=True)
    return [Cluster(first, second, alike) for (first, second), alike in pairs]


def _grouped(found: Correlations, matched: Matches, wish: Wish) -> Clusters:
    """Of wide layers matched pairs, evenly chosen: any units of both would leave most without their partner."""
    if max(found.between.shape) > _CLUSTERED:
        some = _evenly(len(matched.first), _CLUSTERED)
        a, b = matched.first[some].sort().values, matched.second[some].sort().values
        found = Correlations(found.a[a][:, a], found.b[b][:, b], found.between[a][:, b])
    return clusters(found, wish.clusters, seed=wish.seed)


def _curve(found: Matches) -> list[float]:
    return found.values[_evenly(len(found.values), _POINTS)].tolist()


def _heat(found: Correlations, matched: Matches) -> Heat:
    """The units in their own order, then in the order of the matches; of large layers evenly chosen ones."""
    rows, columns = (_evenly(size, _PIXELS) for size in found.between.shape)
    pairs = _evenly(len(matched.first), _PIXELS)
    after = found.between[matched.first[pairs]][:, matched.second[pairs]]
    return Heat(_percent(found.between[rows][:, columns]), _percent(after))


def _percent(values: Tensor) -> list[list[int]]:
    return (100 * values).round().int().tolist()


def _evenly(size: int, most: int) -> Tensor:
    return torch.linspace(0, max(size - 1, 0), min(size, most)).round().long()
