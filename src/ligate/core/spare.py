"""Threads that the engine does not use itself: a rule may do independent pieces of work in them.

Libraries for matrices are given one thread, since their results depend on how many they have; what is done here side by
side gives the same numbers as one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_SPARE = {"threads": 1}


@contextmanager
def spare_threads(count: int) -> Generator[None]:
    """So many threads for each worker of the engine, itself among them."""
    before, _SPARE["threads"] = _SPARE["threads"], count
    try:
        yield
    finally:
        _SPARE["threads"] = before


def side_by_side(function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """What the function makes of each item, in their order."""
    work, threads = list(items), _SPARE["threads"]
    if threads < 2 or len(work) < 2:
        return [function(item) for item in work]
    import torch

    infers = torch.is_inference_mode_enabled()

    def alone(item: _T) -> _R:
        torch.set_num_threads(1)
        with torch.inference_mode(infers):
            return function(item)

    with ThreadPoolExecutor(min(threads, len(work))) as pool:
        return list(pool.map(alone, work))
