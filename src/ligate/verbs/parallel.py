"""Independent pieces of heavy arithmetic on several processors, with the same bits for any number of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ligate.core.errors import RecipeError
from ligate.engine.memory import DEFAULT, resident_bytes, thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers(largest: int, memory: int | None, threads: int | None) -> int:
    """How many pieces may be worked on at once when the largest needs so many bytes.

    Raises:
        RecipeError: not even one fits into the `memory` that was set. The default limit always lets one through.
    """
    held = resident_bytes()
    fitting = ((DEFAULT if memory is None else memory) - held) // max(largest, 1)
    if fitting < 1 and memory is not None:
        text = f"--memory {memory / 1e6:.0f} MB is too little: the largest tensor needs {largest / 1e6:.0f} MB"
        raise RecipeError(text, hint=f"give at least {(held + largest) / 1e6:.0f}MB.")
    return int(max(1, min(thread_count(threads), fitting)))


def each(items: Iterable[Item], work: Callable[[Item], Result], count: int) -> Iterator[tuple[Item, Result]]:
    """Every item with its result, in order. Each runs on one processor: shared sums would change with their number."""
    import torch

    with one_processor():
        pool = ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(1))
        try:
            items = list(items)
            yield from zip(items, pool.map(work, items), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def one_processor() -> Generator[None]:
    """What torch adds up here has the same bits however many processors there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
