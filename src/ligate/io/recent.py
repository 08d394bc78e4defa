"""Keep what was made most recently, up to a number of bytes, so that neighbouring reads need not make it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Arrays = tuple["np.ndarray", ...]


class Recent:
    """Arrays by name. Safe from any thread; two threads may make the same ones, which is then the same twice."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[str, Arrays] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """What `make` made for this name; nothing is kept that alone exceeds the limit."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
        made = make()
        with self._lock:
            if name not in self._held:
                self._held[name] = made
                self._bytes += _size(made)
            while self._bytes > self._most:
                self._bytes -= _size(self._held.popitem(last=False)[1])
        return made

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = 0


def _size(arrays: Sequence[np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays)
