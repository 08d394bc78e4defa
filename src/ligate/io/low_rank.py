r"""The change that a LoRA adapter makes to one weight, a range at a time and with the same bits for any range.

.. math:: W' = W + s\,B A \qquad\text{or with a magnitude (DoRA)}\qquad
          W' = m \frac{W + s\,B A}{\lVert W + s\,B A \rVert}

The weight is seen as a matrix [rows, columns] in its stored order, and B A (or its transpose, for weights that lie
[in, out]) as left [rows, r] times right [r, columns]. Products are computed in float64 and in tiles that are fixed by
the shape alone, never by what is asked for: a product of another shape may add in another order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ligate.core.tensors import Source, itemsize

from .floats import widened
from .recent import Recent

_ROWS = 16
_PRODUCT = 1 << 18  # multiplications per product; OpenBLAS shares larger ones among threads, which may change bits

Read = Callable[[int, int], "np.ndarray"]  # elements [start, stop) of the weight as it was


@dataclass(frozen=True)
class LowRank:
    """Which tensors of an adapter change a weight of this many rows and columns, and by which scaling."""

    down: str  # A [r, in]
    up: str  # B [out, r]
    rank: int
    rows: int
    columns: int
    scaling: float
    transposed: bool  # the weight lies [in, out]: rows belong to A, columns to B
    magnitude: str | None = None  # DoRA: one number per output, so per row, or per column when transposed


class LowRankChange:
    """Applies a `LowRank` of an adapter to ranges of a weight. Safe from any thread."""

    def __init__(self, adapter: Source, what: LowRank, factors: Recent) -> None:
        self._adapter = adapter
        self._what = what
        self._factors = factors
        self._norms: np.ndarray | None = None
        self._lock = threading.Lock()
        self._width = max(2, _PRODUCT // (_ROWS * what.rank))

    def apply(self, start: int, numbers: np.ndarray, read: Read) -> None:
        """Fill the flat `numbers` with the changed weight's elements from `start` on."""
        what = self._what
        factor = self._factor(read) if what.magnitude else None
        area, stop = _ROWS * what.columns, start + numbers.size
        for tile in range(start // area, -(-stop // area)):
            low, high = max(start, tile * area), min(stop, (tile + 1) * area)
            inside = slice(low - tile * area, high - tile * area)
            changed = self._delta(tile).reshape(-1)[inside] + read(low, high)
            if factor is not None:
                changed *= self._spread(factor, tile).reshape(-1)[inside]
            with np.errstate(over="ignore"):  # what becomes infinite is found by whoever reads on
                numbers[low - start : high - start] = changed

    def _delta(self, tile: int) -> np.ndarray:
        """s B A of a tile's rows: [rows of the tile, columns], float64."""
        what = self._what
        rows = range(tile * _ROWS, min((tile + 1) * _ROWS, what.rows))
        (right,) = self._factors.get(what.down, lambda: (self._right(),))
        left = np.zeros((_ROWS, what.rank))
        left[: len(rows)] = self._left(rows)
        delta = np.empty((_ROWS, right.shape[1]))
        for column in range(0, right.shape[1], self._width):
            part = slice(column, column + self._width)
            np.matmul(left, right[:, part], out=delta[:, part])
        delta *= what.scaling
        return np.ascontiguousarray(delta[: len(rows), : what.columns])

    def _right(self) -> np.ndarray:
        """[r, columns], with columns of zeros so that every product has the same shape."""
        what = self._what
        if what.transposed:
            factor = self._numbers(what.up, 0, what.columns * what.rank).reshape(what.columns, what.rank).T
        else:
            factor = self._numbers(what.down, 0, what.rank * what.columns).reshape(what.rank, what.columns)
        right = np.zeros((what.rank, -(-what.columns // self._width) * self._width))
        right[:, : what.columns] = factor
        return right

    def _left(self, rows: range) -> np.ndarray:
        """[rows, r]: rows of B, or columns of A."""
        what = self._what
        if not what.transposed:
            return self._numbers(what.up, rows.start * what.rank, rows.stop * what.rank).reshape(-1, what.rank)
        starts = range(0, what.rank * what.rows, what.rows)
        return np.stack([self._numbers(what.down, start + rows.start, start + rows.stop) for start in starts], axis=1)

    def _numbers(self, name: str, start: int, stop: int) -> np.ndarray:
        return read_numbers(self._adapter, name, start, stop)

    def _factor(self, read: Read) -> np.ndarray:
        """Magnitude over norm; the norms need one pass over the whole weight, which the first reader makes."""
        what = self._what
        with self._lock:
            if self._norms is None:
                self._norms = self._measured(read)
        outputs = what.columns if what.transposed else what.rows
        with np.errstate(divide="ignore", invalid="ignore"):  # a norm of zero: found by whoever reads on
            return self._numbers(what.magnitude or "", 0, outputs) / self._norms

    def _measured(self, read: Read) -> np.ndarray:
        """Norms of the rows, or of the columns when transposed, of W + s B A."""
        if self._what.transposed:
            total = np.zeros(self._what.columns)
            for tile in self._tiles(read):
                total += np.square(tile).sum(axis=0)
            return np.sqrt(total)
        return np.sqrt(np.concatenate([np.square(tile).sum(axis=1) for tile in self._tiles(read)]))

    def _tiles(self, read: Read) -> Iterator[np.ndarray]:
        what = self._what
        for tile in range(math.ceil(what.rows / _ROWS)):
            delta = self._delta(tile)
            start = tile * _ROWS * what.columns
            yield delta + read(start, start + delta.size).reshape(delta.shape)

    def _spread(self, factor: np.ndarray, tile: int) -> np.ndarray:
        """The factor of each element of a tile."""
        first, last = tile * _ROWS, min((tile + 1) * _ROWS, self._what.rows)
        shape = (last - first, self._what.columns)
        return np.broadcast_to(factor if self._what.transposed else factor[first:last, None], shape)


def read_numbers(source: Source, name: str, start: int, stop: int) -> np.ndarray:
    """Elements [start, stop) of a floating-point tensor as float32 or float64."""
    dtype = source.headers()[name].dtype
    raw = bytearray((stop - start) * itemsize(dtype))
    source.read_into(name, start, memoryview(raw))
    return widened(raw, dtype)
