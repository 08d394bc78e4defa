"""A multiset of non-negative floats in bounded memory: exact while it can be, a histogram when it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAPACITY = 1 << 18  # numbers held before equal ones are put together
BINS = 1 << 17
_INTEGER = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}
_Part = tuple["NDArray[Any]", int]  # integers as they came, weight of each
_Groups = tuple["NDArray[Any]", "NDArray[Any]"]  # different integers in ascending order, weight of each


class Step(NamedTuple):
    """Numbers from `low` to `high` weigh `weight`; they and all larger ones weigh `reached`."""

    low: float
    high: float
    weight: int
    reached: int


class Pile:
    """Weighted numbers from `low` to `high`, kept as the integers of their bits: these order as the numbers do.

    Too many to be held are grouped by value; too many different values are counted in bins of equally many integers,
    and a `Step` then spans the numbers of a bin.
    """

    def __init__(self, low: float = 0.0, high: float = np.inf) -> None:
        self._range = low, high
        self._dtype = np.dtype(np.float32)
        self._parts: list[_Part] = []
        self._held = 0  # in all parts
        self._groups: _Groups | None = None
        self._bins: NDArray[np.int64] | None = None
        self._first, self._shift = 0, 0  # bin b counts the integers from first + (b << shift) on
        self._sorted: _Groups | None = None
        self.total = 0  # weight
        self.looks = 0  # numbers

    @property
    def exact(self) -> bool:
        """Whether every step is a single number."""
        return self._shift == 0

    def add(self, numbers: NDArray[Any], weight: int) -> None:
        """Take an array of numbers, each of this weight. The array is kept, so it must not change any more."""
        if not len(numbers):
            return
        self._dtype = numbers.dtype
        self._take(numbers.view(_INTEGER[numbers.dtype]), weight)
        self.total += weight * len(numbers)
        self.looks += len(numbers)

    def absorb(self, other: Pile) -> None:
        """Take all that another pile of the same range holds."""
        if not other.looks:
            return
        self._dtype = other._dtype
        if other._bins is not None:
            self._bins = self._use_bins() + other._bins
        if other._groups is not None:
            self._group(other._groups)
        for keys, weight in other._parts:
            self._take(keys, weight)
        self._sorted = None
        self.total += other.total
        self.looks += other.looks

    def pieces(self) -> Sequence[NDArray[Any]]:
        """The arrays as they were added; none once they were put together."""
        whole = self._groups is None and self._bins is None
        return [keys.view(self._dtype) for keys, _ in self._parts] if whole else []

    def step(self, weight: int) -> Step:
        """Where the largest numbers together first reach this weight."""
        if self._sorted is None:
            self._sorted = self._sort()
        keys, reached = self._sorted
        at = max(len(keys) - 1 - int(np.searchsorted(reached[::-1], weight)), 0)
        first, after = (int(np.searchsorted(keys, keys[at], side)) for side in ("left", "right"))
        larger = int(reached[after]) if after < len(keys) else 0
        low = self._first + (int(keys[at]) << self._shift)
        high = low + (1 << self._shift) - 1
        return Step(self._number(low), self._number(high), int(reached[first]) - larger, int(reached[first]))

    def _sort(self) -> _Groups:
        """Keys in ascending order, and what each and all behind it weigh together."""
        if self._bins is not None:
            self._sort_into_bins()
            keys = np.flatnonzero(self._bins)
            weights = self._bins[keys]
        elif self._groups is None and len({weight for _, weight in self._parts}) == 1:
            keys = np.sort(np.concatenate([keys for keys, _ in self._parts]))
            return keys, np.arange(len(keys), 0, -1) * self._parts[0][1]
        else:
            known = [] if self._groups is None else [self._groups]
            keys, weights = _grouped([*known, *_counted(self._parts)])
        return keys, np.cumsum(weights[::-1])[::-1]

    def _take(self, keys: NDArray[Any], weight: int) -> None:
        self._parts.append((keys, weight))
        self._held += len(keys)
        self._sorted = None
        if self._held > CAPACITY:
            if self._bins is None:
                came, self._parts, self._held = self._parts, [], 0
                self._group(*_counted(came))
            else:
                self._sort_into_bins()

    def _group(self, *groups: _Groups) -> None:
        """Put equal numbers together; when even then too many are left, count in bins from now on."""
        self._groups = _grouped([*([] if self._groups is None else [self._groups]), *groups])
        if self._bins is not None or len(self._groups[0]) > CAPACITY // 4:
            self._use_bins()
            self._sort_into_bins()

    def _use_bins(self) -> NDArray[np.int64]:
        if self._bins is None:
            self._first, last = map(self._bits, self._range)
            self._shift = ((last - self._first) // BINS).bit_length()
            self._bins = np.zeros(BINS, np.int64)
        return self._bins

    def _sort_into_bins(self) -> None:
        if self._bins is None:
            return
        for keys, weight in _joined(self._parts):
            self._bins += np.bincount(self._bin(keys), minlength=BINS) * weight
        if self._groups is not None:
            np.add.at(self._bins, self._bin(self._groups[0]), self._groups[1])
        self._parts, self._held, self._groups = [], 0, None

    def _bin(self, keys: NDArray[Any]) -> NDArray[Any]:
        return (keys - keys.dtype.type(self._first)) >> self._shift

    def _bits(self, number: float) -> int:
        return int(self._dtype.type(number).view(_INTEGER[self._dtype]))

    def _number(self, bits: int) -> float:
        most = self._bits(np.inf)
        return float(_INTEGER[self._dtype].type(min(bits, most)).view(self._dtype))


def _joined(parts: Sequence[_Part]) -> Iterator[_Part]:
    """All numbers of equal weight as one part: many short ones cost more than what they hold."""
    for weight in dict.fromkeys(weight for _, weight in parts):
        yield np.concatenate([keys for keys, each in parts if each == weight]), weight


def _counted(parts: Sequence[_Part]) -> list[_Groups]:
    """Equal numbers of equal weight put together."""
    found: list[_Groups] = []
    for joined, weight in _joined(parts):
        keys, counts = np.unique(joined, return_counts=True)
        found.append((keys, counts * weight))
    return found


def _grouped(groups: Sequence[_Groups]) -> _Groups:
    """Several groups as one."""
    if len(groups) == 1:
        return groups[0]
    keys = np.concatenate([keys for keys, _ in groups])
    order = np.argsort(keys)
    keys, weights = keys[order], np.concatenate([weights for _, weights in groups])[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return keys[first], np.add.reduceat(weights, first)
