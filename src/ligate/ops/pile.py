"""A multiset of non-negative floats in bounded memory: exact while it can be, then in coarser and coarser steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAPACITY = 1 << 18  # numbers kept before equal ones are put together
_INTEGER = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


class Step(NamedTuple):
    """Numbers from `low` to `high` weigh `weight`; they and all larger ones weigh `reached`."""

    low: float
    high: float
    weight: int
    reached: int


class Pile:
    """Weighted numbers >= 0, kept as the integers of their bits: these order as the numbers do.

    When more than CAPACITY numbers are held, equal ones are put together; while still too many are different, the
    lowest bits of all are dropped, and a `Step` spans more than one number.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[Any], int | NDArray[Any]]] = []
        self._dtype = np.dtype(np.float32)
        self._held = 0
        self._shift = 0
        self._packed = False
        self._groups: tuple[NDArray[Any], NDArray[Any]] | None = None
        self.total = 0  # weight
        self.looks = 0  # numbers

    @property
    def exact(self) -> bool:
        return self._shift == 0

    def add(self, numbers: NDArray[Any], weight: int) -> None:
        """Take an array of numbers, each of this weight. The array is kept, so it must not change any more."""
        self._dtype = numbers.dtype
        bits = numbers.view(_INTEGER[numbers.dtype])
        self._take(bits >> self._shift if self._shift else bits, weight)
        self.total += weight * len(numbers)
        self.looks += len(numbers)

    def absorb(self, other: Pile) -> None:
        """Take all that another pile holds."""
        if not other._parts:
            return
        self._dtype = other._dtype
        self._coarsen(max(other._shift - self._shift, 0))
        for keys, weight in other._parts:
            self._take(keys >> (self._shift - other._shift), weight)
        self._packed = self._packed or other._packed
        self.total += other.total
        self.looks += other.looks

    def pieces(self) -> Sequence[NDArray[Any]]:
        """The arrays as they were added; none once they were put together."""
        return [] if self._packed else [keys.view(self._dtype) for keys, _ in self._parts]

    def step(self, weight: int) -> Step:
        """Where the largest numbers together first reach this weight."""
        keys, reached = self._grouped()
        at = max(int(np.searchsorted(-reached, -max(weight, 1), side="right")) - 1, 0)
        larger = int(reached[at + 1]) if at + 1 < len(reached) else 0
        key = int(keys[at])
        low, high = key << self._shift, ((key + 1) << self._shift) - 1
        return Step(self._number(low), self._number(high), int(reached[at]) - larger, int(reached[at]))

    def _number(self, bits: int) -> float:
        most = int(np.array(np.inf, self._dtype).view(_INTEGER[self._dtype]))
        return float(np.array(min(bits, most), _INTEGER[self._dtype]).view(self._dtype))

    def _take(self, keys: NDArray[Any], weight: int | NDArray[Any]) -> None:
        self._parts.append((keys, weight))
        self._held += len(keys)
        self._groups = None
        if self._held > CAPACITY:
            self._pack()

    def _pack(self) -> None:
        """Put equal keys together; if that is not enough, drop as many low bits as halves the room."""
        keys, reached = self._grouped()
        self._set(keys, _differences(reached))
        half = CAPACITY // 2
        if len(keys) > half:
            apart = keys[1:] ^ keys[:-1]  # neighbours stay different while a bit that sets them apart is kept
            self._coarsen(int(np.partition(apart, -half)[-half]).bit_length())

    def _coarsen(self, bits: int) -> None:
        if not bits:
            return
        self._shift += bits
        self._packed = True
        if self._parts:
            self._parts = [(keys >> bits, weight) for keys, weight in self._parts]
            self._groups = None
            keys, reached = self._grouped()
            self._set(keys, _differences(reached))

    def _set(self, keys: NDArray[Any], weights: NDArray[Any]) -> None:
        self._parts = [(keys, weights)]
        self._held = len(keys)
        self._packed = True

    def _grouped(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Different keys in ascending order, and what each and all above it weigh together."""
        if self._groups is None:
            keys, weights = _sums(self._parts)
            self._groups = keys, np.cumsum(weights[::-1])[::-1]
        return self._groups


def _differences(reached: NDArray[Any]) -> NDArray[Any]:
    return -np.diff(reached, append=0)


def _sums(parts: Sequence[tuple[NDArray[Any], int | NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Different keys in ascending order, and the weight of each."""
    keys = np.concatenate([keys for keys, _ in parts])
    weight = parts[0][1]
    if isinstance(weight, int) and all(isinstance(other, int) and other == weight for _, other in parts):
        different, counts = np.unique(keys, return_counts=True)
        return different, counts * weight
    weights = np.concatenate([np.broadcast_to(np.int64(weight), keys.shape) for keys, weight in parts])
    order = np.argsort(keys)
    keys, weights = keys[order], weights[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return keys[first], np.add.reduceat(weights, first)
