"""One pass over all models side by side: per tensor the inner products of all pairs, and a few moments.

With X [K, n] the flattened tensor of K models, in float64,

    products = X X^T      powers[p - 1] = sum over elements of X^p, p = 1..4

are sums over elements, so blocks of any size add up to them, and distances between any two models and angles between
any three follow:  |x_i - x_j|^2 = P_ii + P_jj - 2 P_ij.  Float64 leaves a relative error of about 1e-8 in a distance,
which is less than rounding to any 16-bit type makes.

Memory: two blocks of all models, and one matrix [K, K] per tensor; not more for larger models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ligate.core.errors import InputError
from ligate.core.tensors import MERGEABLE, Header, Source, itemsize, torch_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BUFFER = 96 << 20  # bytes of float64 that are multiplied together
_LONGEST = 1 << 20  # elements of one block


@dataclass(frozen=True)
class Gathered:
    """What one pass keeps of one tensor. The axes of all arrays are the models in `holders`, in that order."""

    name: str
    shape: tuple[int, ...]
    holders: tuple[int, ...]
    products: NDArray[np.float64]  # [k, k]
    powers: NDArray[np.float64]  # [4, k]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) > 1 and self.shape[0] > 1 and self.size > self.shape[0]

    def squared_distances(self) -> NDArray[np.float64]:
        """[k, k]"""
        own = self.products.diagonal()
        return np.maximum(own[:, None] + own[None, :] - 2 * self.products, 0.0)

    def cosines(self) -> NDArray[np.float64]:
        """[k, k] of the tensors less their means; 0 beside one that is constant."""
        first = self.powers[0]
        centred = self.products - np.outer(first, first) / self.size
        length = np.sqrt(np.maximum(centred.diagonal(), 0.0))
        scale = np.outer(length, length)
        return np.clip(np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0), -1.0, 1.0)

    def kurtosis(self) -> NDArray[np.float64]:
        """[k] excess kurtosis of the elements; 0 where all are equal."""
        one, two, three, four = self.powers / self.size
        variance = np.maximum(two - one**2, 0.0)
        fourth = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
        return np.divide(fourth, variance**2, out=np.full_like(fourth, 3.0), where=variance > 0) - 3.0


class Lost(NamedTuple):
    """What could not be read: a whole model (`tensor` is empty) or one of its tensors."""

    model: int
    tensor: str
    why: str


def gather(
    sources: Sequence[Source], advance: Callable[[int], None] = lambda nbytes: None
) -> tuple[list[Gathered], list[Lost]]:
    """Every tensor that two or more models hold in one shape, and what could not be read of whom.

    Integers and Booleans are left out: nothing trains them. A model that fails while it is read is left out from then
    on, with its tensors so far; a tensor with numbers that are not finite is left out of that model.
    """
    lost: list[Lost] = []
    found: list[Gathered] = []
    with ThreadPoolExecutor(1, thread_name_prefix="ligate-trace") as ahead:
        for (name, shape), holders in shared(sources).items():
            alive = tuple(one for one in holders if all(one != each.model or each.tensor for each in lost))
            if len(alive) < 2:
                continue
            products, powers = np.zeros((len(alive), len(alive))), np.zeros((4, len(alive)))
            width = sum(itemsize(sources[one].headers()[name].dtype) for one in alive)
            for rows in _blocks(sources, name, alive, ahead, lost):
                _add(rows, products, powers)
                advance(width * rows.shape[1])
            found.append(Gathered(name, shape, alive, products, powers))
    dead = {each.model for each in lost}
    return [each for each in (_usable(one, dead, lost) for one in found) if len(each.holders) > 1], lost


def shared(sources: Sequence[Source]) -> dict[tuple[str, tuple[int, ...]], list[int]]:
    """(tensor, shape) -> the models that hold it so, where two or more do; in the order of the first."""
    held: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for number, source in enumerate(sources):
        for name, header in source.headers().items():
            if header.dtype in MERGEABLE and header.numel:
                held.setdefault((name, header.shape), []).append(number)
    return {key: holders for key, holders in held.items() if len(holders) > 1}


def _add(rows: NDArray[np.float64], products: NDArray[np.float64], powers: NDArray[np.float64]) -> None:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told later, of whom and where
        products += rows @ rows.T
        squares = rows * rows
        powers[0] += rows.sum(1)
        powers[1] += products_of(rows, rows)
        powers[2] += products_of(squares, rows)
        powers[3] += products_of(squares, squares)


def products_of(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inner product of each row of one with the same row of the other."""
    return np.einsum("ki,ki->k", a, b)


def _usable(each: Gathered, dead: set[int], lost: list[Lost]) -> Gathered:
    """Without models that failed, and without those whose numbers in this tensor are not finite."""
    kept: list[int] = []
    for place, model in enumerate(each.holders):
        if model not in dead and np.isfinite(each.powers[:, place]).all():
            kept.append(place)
        elif model not in dead:
            lost.append(Lost(model, each.name, "holds numbers that are not finite"))
    holders = tuple(each.holders[place] for place in kept)
    return replace(each, holders=holders, products=each.products[np.ix_(kept, kept)], powers=each.powers[:, kept])


def _blocks(
    sources: Sequence[Source], name: str, models: Sequence[int], ahead: ThreadPoolExecutor, lost: list[Lost]
) -> Iterator[NDArray[np.float64]]:
    """[K, n] pieces of one tensor in float64, the next one read while this one is used; zeros for who fails."""
    total = sources[models[0]].headers()[name].numel
    block = max(1, min(_LONGEST, _BUFFER // (8 * len(models)), total))
    starts = range(0, total, block)
    failed: set[int] = set()
    buffers = [np.empty((len(models), block)) for _ in range(2)]

    def read(number: int) -> NDArray[np.float64]:
        rows = buffers[number % 2][:, : min(block, total - number * block)]
        for row, model in zip(rows, models, strict=True):
            try:
                row[:] = 0.0 if model in failed else read_run(sources[model], name, number * block, len(row))
            except InputError as error:
                failed.add(model)
                lost.append(Lost(model, "", str(error)))
                row[:] = 0.0
        return rows

    waiting = ahead.submit(read, 0)
    for number in range(len(starts)):
        rows = waiting.result()
        if number + 1 < len(starts):
            waiting = ahead.submit(read, number + 1)
        yield rows


def read_run(source: Source, name: str, start: int, count: int) -> NDArray[np.float64]:
    """Elements [start, start + count) of the flattened tensor."""
    import torch

    header: Header = source.headers()[name]
    raw = bytearray(count * itemsize(header.dtype))
    source.read_into(name, start, memoryview(raw))
    return torch.frombuffer(raw, dtype=torch_dtype(header.dtype)).double().numpy()
