"""Rules and measurements straight from stored numbers to stored numbers, without torch; compiled loops only.

They give the bits that kernels.py gives after widening to the dtype in which rules calculate, and rounding from it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple

from . import compiled
from .draw import limit
from .errors import LigateError
from .tensors import itemsize

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = {"BF16": "bf16", "F16": "f16", "F32": "f32"}
_WORD = (1 << 64) - 1
COMPUTES = {"BF16": "F32", "F16": "F32", "F32": "F64"}
"""Stored dtypes that have loops, and the dtype in which a rule would calculate."""


def _no_noise(model: int, step: int) -> int:
    raise LigateError("nobody said where these numbers belong, so there is no noise for them")


def _loop(name: str, kind: str) -> Callable[..., Any]:
    found = compiled.loop(name, kind)
    if found is None:
        raise LigateError("stored numbers are merged directly by compiled loops only")
    return found


class Stored:
    """K rows of n stored numbers and perhaps their base, by address; the memory is kept alive by whoever made it."""

    def __init__(self, dtype: str, base: int | None, rows: Sequence[int], n: int, piece: int | None = None) -> None:
        self.dtype, self.base, self.rows, self.n = dtype, base, tuple(rows), n
        self.piece = piece or n  # so many neighbours lie together
        self.kind = _KINDS[dtype]
        self.starts: Sequence[int] = (0,)  # where in the tensor each piece begins
        self.noise_key: Callable[[int, int], int] = _no_noise  # (model, step) -> see draw.key

    @cached_property
    def table(self) -> Any:
        return compiled.addresses(self.rows)

    def finite(self, address: int) -> bool:
        """Whether all numbers of the row at this address are finite."""
        return bool(_loop("finite", self.kind)(address, self.n))

    def cut(self, row: int, low: float, high: float) -> None:
        """Overwrite a row by the base where it differs from it by less than `low` or by more than `high`."""
        _loop("cut", self.kind)(self.base, self.rows[row], low, high, self.n)

    def drop(self, row: int, share: float, step: int = 0) -> None:
        """Overwrite a row by the base at random places, so that about this share of it stays."""
        words = self.noise_key(row, step)
        key = (ctypes.c_uint64 * 2)(words & _WORD, words >> 64)
        for i, start in enumerate(self.starts):
            skip, size = i * self.piece * itemsize(self.dtype), min(self.piece, self.n - i * self.piece)
            places = (self.base or 0) + skip, self.rows[row] + skip
            _loop("drop", self.kind)(*places, key, start, limit(share), size)

    def lengths(self) -> Sequence[float]:
        """The sum of the magnitudes of each difference from the base."""
        return [_loop("length", self.kind)(self.base, row, self.n) for row in self.rows]

    def energies(self) -> Sequence[float]:
        """The sum of the squares of each difference from the base."""
        return [self._dot(row, row) for row in self.rows]

    def dots(self) -> Sequence[float]:
        """The dot products of all pairs of differences from the base, or of rows without a base: 00, 01, ..., 11."""
        return [self._dot(*pair) for pair in combinations_with_replacement(self.rows, 2)]

    def _dot(self, row: int, other: int) -> float:
        return _loop("dot", self.kind)(self.base, row, other, self.n)

    def select(self, least: float) -> None:
        """Overwrite all rows by the base where their spread is below `least`."""
        _loop("select", self.kind)(self.base, self.table, least, len(self.rows), self.n)

    def spreads(self) -> Sequence[NDArray[Any]]:
        """Piece by piece the variance over the rows, times the square of their number."""
        import numpy as np

        out = np.empty(self.n, np.float64)
        _loop("spreads", self.kind)(self.table, out.ctypes.data, len(self.rows), self.n)
        return [out[start : start + self.piece] for start in range(0, self.n, self.piece)]

    def scores(self, bounds: Sequence[float]) -> Sequence[Sequence[NDArray[Any]]]:
        """Of each row piece by piece the score of PCB-Merging; `bounds` as in Competition."""
        import numpy as np

        out = np.empty((len(self.rows), self.n), np.float64)
        table = compiled.doubles(bounds)
        _loop("scores", self.kind)(self.base, self.table, table, out.ctypes.data, len(self.rows), self.n)
        return [[row[start : start + self.piece] for start in range(0, self.n, self.piece)] for row in out]

    def overlap(self, epsilon: float) -> list[tuple[int, int]]:
        """Of each row, how many entries it changes by more than epsilon with other rows, and how many alone."""
        models = len(self.rows)
        counts = (ctypes.c_uint64 * (2 * models))()
        _loop("overlap", self.kind)(self.base, self.table, epsilon, counts, models, self.n)
        return [(counts[k] - counts[models + k], counts[models + k]) for k in range(models)]

    def differences(self) -> Sequence[Difference]:
        return [Difference(self, row) for row in self.rows]


class Difference(NamedTuple):
    """A row less the base."""

    stored: Stored
    row: int

    def magnitudes(self) -> Sequence[NDArray[Any]]:
        """Piece by piece."""
        import numpy as np

        n, piece = self.stored.n, self.stored.piece
        out = np.empty(n, np.float64 if self.stored.kind == "f32" else np.float32)
        _loop("distances", self.stored.kind)(self.stored.base, self.row, out.ctypes.data, n)
        return [out[start : start + piece] for start in range(0, n, piece)]

    def census(self, low: float, high: float) -> Census:
        return census(self.stored.kind, self.stored.base, self.row, low, high, self.stored.n)


class Census(NamedTuple):
    """How many magnitudes are > high, >= high, > low, >= low, and those strictly between low and high.

    NaN, where it was let in, counts as larger than any number.
    """

    above: int
    to_high: int
    beyond_low: int
    to_low: int
    inside: NDArray[Any]
    of: int


def census(kind: str, base: int | None, row: int, low: float, high: float, n: int) -> Census:
    import numpy as np

    inside = np.empty(n, np.float64 if kind in ("f32", "f64") else np.float32)
    counts = (ctypes.c_uint64 * 4)()
    found = _loop("census", kind)(base, row, low, high, inside.ctypes.data, counts, n)
    return Census(counts[0], counts[1], counts[2], counts[3], inside[:found].copy(), n)


class WeightedSum(NamedTuple):
    r""":math:`\sum_k w_k x_k / d`."""

    weights: Sequence[float]
    divisor: float = 1.0

    def into(self, rows: Stored, out: int) -> bool:
        """Write the result at this address; whether all of it is finite."""
        weights = compiled.doubles(self.weights)
        loop = _loop("weighted_sum", rows.kind)
        return bool(loop(rows.table, weights, self.divisor, out, len(rows.rows), rows.n))


class AddWeighted(NamedTuple):
    r""":math:`x_0 + \lambda \sum_k w_k (x_k - x_0)`."""

    weights: Sequence[float]
    scale: float

    def into(self, rows: Stored, out: int) -> bool:
        weights = compiled.doubles(self.weights)
        loop = _loop("add_weighted", rows.kind)
        return bool(loop(rows.base, rows.table, weights, 1, self.scale, out, len(rows.rows), rows.n))


class DisjointMerge(NamedTuple):
    """See kernels.disjoint_merge."""

    bounds: Sequence[float]
    gains: Sequence[float]
    weights: Sequence[float]
    tie: int
    least: float
    scale: float

    def into(self, rows: Stored, out: int) -> bool:
        bounds = compiled.reals(rows.kind, self.bounds)
        tables = rows.base, rows.table, bounds, compiled.doubles(self.gains), compiled.doubles(self.weights)
        loop = _loop("disjoint_merge", rows.kind)
        return bool(loop(*tables, 1, self.tie, self.least, self.scale, out, len(rows.rows), rows.n))


class Combination(NamedTuple):
    r""":math:`x_0 + \sum_k w_k (x_k - x_0)`, or without a base :math:`\sum_k w_k x_k`."""

    weights: Sequence[float]

    def into(self, rows: Stored, out: int) -> bool:
        rule = WeightedSum(self.weights) if rows.base is None else AddWeighted(self.weights, 1.0)
        return rule.into(rows, out)


class MeanOfChanged(NamedTuple):
    """The base plus the mean of the differences larger than epsilon; where there is only one, it times its gain."""

    weights: Sequence[float]  # the gains
    epsilon: float
    scale: float

    def into(self, rows: Stored, out: int) -> bool:
        loop, gains = _loop("mean_of_changed", rows.kind), compiled.doubles(self.weights)
        return bool(loop(rows.base, rows.table, gains, self.epsilon, self.scale, out, len(rows.rows), rows.n))


class ElectedMean(NamedTuple):
    """The base plus the weighted mean of the differences that have the sign of their sum."""

    weights: Sequence[float]

    def into(self, rows: Stored, out: int) -> bool:
        loop, weights = _loop("elected_mean", rows.kind), compiled.doubles(self.weights)
        return bool(loop(rows.base, rows.table, weights, out, len(rows.rows), rows.n))


class Competition(NamedTuple):
    """The base plus the mean of the clipped differences, weighted by their scores (PCB-Merging)."""

    weights: Sequence[float]
    bounds: Sequence[float]  # of magnitudes: an upper and a lower one for each row, in turn
    floors: Sequence[float]  # scores from which on entries count
    rooms: Sequence[float]  # from there to the best; 0: all from the floor on count alike; negative: none counts
    scale: float

    def into(self, rows: Stored, out: int) -> bool:
        loop, tables = _loop("compete", rows.kind), (self.bounds, self.floors, self.rooms, self.weights)
        arrays = map(compiled.doubles, tables)
        return bool(loop(rows.base, rows.table, *arrays, self.scale, out, len(rows.rows), rows.n))


class Consensus(NamedTuple):
    """See merge/consensus."""

    weights: Sequence[float]
    strictness: Sequence[float]
    agreement: int
    scale: float

    def into(self, rows: Stored, out: int) -> bool:
        loop, tables = _loop("consensus", rows.kind), map(compiled.doubles, (self.weights, self.strictness))
        numbers = self.agreement, self.scale, out, len(rows.rows), rows.n
        return bool(loop(rows.base, rows.table, *tables, *numbers))


class Largest(NamedTuple):
    """The base plus the difference of the largest magnitude, of equal ones the positive."""

    weights: Sequence[float]  # unused, one for each row
    scale: float

    def into(self, rows: Stored, out: int) -> bool:
        loop = _loop("largest", rows.kind)
        return bool(loop(rows.base, rows.table, self.scale, out, len(rows.rows), rows.n))


Simple = (
    Combination
    | Competition
    | Consensus
    | Largest
    | WeightedSum
    | AddWeighted
    | DisjointMerge
    | MeanOfChanged
    | ElectedMean
)


class After(NamedTuple):
    """A rule, and what is done to the rows before."""

    change: Callable[[Stored], None]
    rule: Simple

    @property
    def weights(self) -> Sequence[float]:
        return self.rule.weights

    def into(self, rows: Stored, out: int) -> bool:
        self.change(rows)
        return self.rule.into(rows, out)


Rule = Simple | After


def lead_of_plus(rows: Stored, bounds: Sequence[float], gains: Sequence[float]) -> int:
    """How many more elements have a positive than a negative sum of gain times trimmed difference."""
    table = compiled.reals(rows.kind, bounds)
    loop = _loop("lead_of_plus", rows.kind)
    return int(loop(rows.base, rows.table, table, compiled.doubles(gains), 1, len(rows.rows), rows.n))
