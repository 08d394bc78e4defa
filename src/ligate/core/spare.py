"""Threads that the engine does not use itself: a rule may do independent pieces of work in them.

Libraries for matrices are given one thread, since their results depend on how many they have; what is done here side by
side gives the same numbers as one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

_SPARE = {"threads": 1}
_WITHIN = threading.local()  # of a thread that works for another one: nothing is to spare for it


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
    work, threads = list(items), _threads()
    if threads < 2 or len(work) < 2:
        return [function(item) for item in work]
    import torch

    infers, learns = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alone(item: _T) -> _R:
        _WITHIN.one = True
        torch.set_num_threads(1)
        with torch.inference_mode(infers), torch.set_grad_enabled(learns):
            return function(item)

    with ThreadPoolExecutor(min(threads, len(work))) as pool:
        return list(pool.map(alone, work))


def ahead(function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """The same, made as it is asked for: no more results are there at once than there are threads."""
    rest = iter(items)
    while some := list(islice(rest, _threads())):
        yield from side_by_side(function, some)


def _threads() -> int:
    return 1 if getattr(_WITHIN, "one", False) else _SPARE["threads"]
