"""Models whose units are in another order: the orders are found from the weights alone, without knowing the network.

A unit of a network that was only reordered (and perhaps tuned afterwards) has the same weights as before, so that rows
of its matrices look almost exactly like rows of its relative's. Axes on which nothing can move (inputs, words,
classes) are where it starts: rows are matched, then the order found is tried on all other axes of that length, from
matrix to matrix. Rows of strangers are at right angles, so that the first matrices show whether there is anything to
find. A model is compared with the one whose rows are as long as its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ligate.core.tensors import MERGEABLE, Header, Source, itemsize, torch_dtype
from ligate.io.views import View

from .gathering import read_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIKE = 0.8  # mean cosine of matched rows
_ROWS, _COLUMNS = 16384, 4096  # a matrix with more is compared by as many
_COMPARED = 12  # matrices, whose rows' lengths tell who is nearest
_LEAST = 0.5  # share of the elements of all matrices that must be found


class Moves(NamedTuple):
    """Which unit takes each place on the first two axes of a tensor; None where an axis is as it was."""

    rows: NDArray[np.int64] | None
    columns: NDArray[np.int64] | None


def orders(source: Source, like: Source) -> dict[str, Moves] | None:
    """What brings a model into the order of another; None where they have nothing in common."""
    headers = {
        name: header
        for name, header in source.headers().items()
        if like.headers().get(name, _NOTHING).shape == header.shape and header.dtype in MERGEABLE
    }
    matrices = [name for name, header in headers.items() if _is_matrix(header)]
    search = _Search(source, like)
    waiting = sorted(matrices, key=lambda name: headers[name].numel)
    while waiting:
        solved = [name for name in waiting if search.solve(name)]
        if not solved:
            break
        waiting = [name for name in waiting if name not in solved]
    found = sum(headers[name].numel for name in search.moves)
    if not search.moves or found < _LEAST * sum(headers[name].numel for name in matrices):
        return None
    for name in headers:
        if name not in matrices:
            search.place(name)
    moved = any(axis is not None for moves in search.moves.values() for axis in moves)
    return search.moves if moved else None


def _is_matrix(header: Header) -> bool:
    return header.dtype in MERGEABLE and len(header.shape) > 1 and min(header.shape[:2]) > 1


_NOTHING = Header("F32", ())


class _Search:
    def __init__(self, source: Source, like: Source) -> None:
        self._source, self._like = source, like
        self._known: dict[int, list[NDArray[np.int64]]] = {}
        self.moves: dict[str, Moves] = {}

    def solve(self, name: str) -> bool:
        """Both orders of one matrix, if one of them is known already and the other can be told."""
        theirs, own = (_matrix(each, name) for each in (self._like, self._source))
        best, moves = max(
            (*self._by_rows(theirs, own), *self._by_columns(theirs, own)), key=lambda one: one[0], default=(0.0, None)
        )
        if moves is None or best < _ALIKE:
            return False
        for order, length in zip(moves, own.shape[:2], strict=True):
            self._learn(order, length)
        self.moves[name] = Moves(*(None if _is_still(order) else order for order in moves))
        return True

    def place(self, name: str) -> None:
        """A vector in the known order in which it is nearest."""
        theirs, own = (read_run(each, name, 0, each.headers()[name].numel) for each in (self._like, self._source))
        orders = self._orders(len(own))
        best = min(orders, key=lambda order: float(np.square(theirs - own[order]).sum()))
        if len(self._source.headers()[name].shape) == 1 and not _is_still(best):
            self.moves[name] = Moves(best, None)

    def _by_rows(self, theirs: NDArray[np.float64], own: NDArray[np.float64]) -> list[tuple[float, _Pair]]:
        """Columns in a known order, rows matched."""
        found: list[tuple[float, _Pair]] = []
        for columns in self._orders(own.shape[1]):
            matched = _matched(_flat(theirs), _flat(own[:, columns]))
            if matched:
                found.append((matched[0], (matched[1], columns)))
        return found

    def _by_columns(self, theirs: NDArray[np.float64], own: NDArray[np.float64]) -> list[tuple[float, _Pair]]:
        found: list[tuple[float, _Pair]] = []
        for rows in self._orders(own.shape[0]):
            chosen = slice(0, _COLUMNS)
            matched = _matched(_flat(theirs[chosen].swapaxes(0, 1)), _flat(own[rows][chosen].swapaxes(0, 1)))
            if matched:
                found.append((matched[0], (rows, matched[1])))
        return found

    def _orders(self, length: int) -> list[NDArray[np.int64]]:
        return [np.arange(length), *self._known.get(length, [])]

    def _learn(self, order: NDArray[np.int64], length: int) -> None:
        if not any(np.array_equal(order, one) for one in self._orders(length)):
            self._known.setdefault(length, []).append(order)


_Pair = tuple["NDArray[np.int64]", "NDArray[np.int64]"]


def _matrix(source: Source, name: str) -> NDArray[np.float64]:
    shape = source.headers()[name].shape
    return read_run(source, name, 0, source.headers()[name].numel).reshape(shape)


def _flat(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return value.reshape(len(value), -1)[:, :_COLUMNS]


def _is_still(order: NDArray[np.int64]) -> bool:
    return bool((order == np.arange(len(order))).all())


def _matched(theirs: NDArray[np.float64], own: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]] | None:
    """(mean cosine, which row of `own` takes each place), where every row has a partner of its own."""
    if len(theirs) > _ROWS or theirs.shape[1] < 2:
        return None
    cosine = _normed(theirs) @ _normed(own).T
    order = cosine.argmax(1)
    if len(np.unique(order)) < len(order):
        if float(cosine.max(1).mean()) < _ALIKE:
            return None
        import torch

        from ligate.align.solving import assignment

        order = assignment(torch.from_numpy(cosine)).numpy()
    return float(cosine[np.arange(len(order)), order].mean()), order.astype(np.int64)


def _normed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows / np.where(length > 0, length, 1.0)


class Reordered(View):
    """A model in the order of another: a tensor is read whole, moved, and handed out in pieces."""

    def __init__(self, inner: Source, moves: Mapping[str, Moves]) -> None:
        super().__init__(inner)
        self._moves = dict(moves)
        self._last: tuple[str, bytes] = ("", b"")

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        moves = self._moves.get(name)
        if moves is None or (moves.rows is None and moves.columns is None):
            self._inner.read_into(name, start, out)
            return
        if self._last[0] != name:
            self._last = (name, self._moved(name, moves))
        first = start * itemsize(self.headers()[name].dtype)
        out[:] = self._last[1][first : first + len(out)]

    def _moved(self, name: str, moves: Moves) -> bytes:
        import torch

        header = self.headers()[name]
        raw = bytearray(header.nbytes)
        self._inner.read_into(name, 0, memoryview(raw))
        value = torch.frombuffer(raw, dtype=torch_dtype(header.dtype)).reshape(header.shape)
        for dim, order in enumerate(moves):
            if order is not None:
                value = value.index_select(dim, torch.from_numpy(order))
        return value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def reordered(sources: Sequence[Source], families: Sequence[tuple[int, ...]]) -> dict[int, Source]:
    """Models that are strangers only because their units are in another order -> the same in the others' order."""
    found: dict[int, Source] = {}
    by_size = sorted(families, key=lambda family: (-len(family), family[0]))
    shapes = [{name: header.shape for name, header in source.headers().items()} for source in sources]
    lengths = cache(lambda model: _lengths(sources[model]))
    for number, family in enumerate(by_size):
        for like in by_size[:number]:
            if shapes[family[0]] != shapes[like[0]] or like[0] in found:
                continue
            nearest = min(like, key=lambda one: _unlike(lengths(family[0]), lengths(one)))
            moves = orders(sources[family[0]], sources[nearest])
            if moves:
                found |= {model: Reordered(sources[model], moves) for model in family}
                break
    return found


def _lengths(source: Source) -> NDArray[np.float64]:
    """The lengths of the rows of the smallest matrices, in order of size: the same whatever the order of units."""
    headers = {name: header for name, header in source.headers().items() if _is_matrix(header)}
    chosen = sorted(headers, key=lambda name: (headers[name].numel, name))[:_COMPARED]
    rows = [_matrix(source, name).reshape(headers[name].shape[0], -1) for name in chosen]
    return np.concatenate([np.sort(np.sqrt(np.einsum("ij,ij->i", each, each))) for each in rows])


def _unlike(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.square(one - other).sum()) if one.shape == other.shape else np.inf
