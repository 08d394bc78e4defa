"""A model in the coordinates of another, while it streams: a Source that shows every tensor as its maps make it.

Where maps are orders, no number is ever computed: rows are read where they lie and their elements put in order, so that
any dtype comes out bit by bit and a read costs the memory of its rows only. A tensor that a matrix mixes, or whose
experts are ordered each in its own way, is mapped as a whole, or by rows where they stay, and kept for a while.
Matrices compute in float64; 16-bit numbers are then handed out as float32, so that only the result of a merge rounds.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ligate.core.errors import InputError
from ligate.core.suggest import nearest
from ligate.core.tensors import MERGEABLE, Header, Source, itemsize, torch_dtype
from ligate.io.recent import Recent
from ligate.io.views import View

from .alignment import Alignment
from .maps import AxisMap, Place, mapped
from .stored import Apart, Joined

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 64 << 20  # bytes of computed pieces that are kept at any rate
_PIECE = 1 << 20  # elements that are computed together where rows stay
_WIDER = {"F16": "F32", "BF16": "F32"}
_CARRIERS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


def in_coordinates(source: Source, alignment: Alignment, told_by: Sequence[Path] = ()) -> Source:
    """The source after all maps of an alignment, its tensors stored as they are.

    Raises:
        InputError: the alignment was made for another model.
    """
    if not alignment.joined:
        return Moved(source, alignment, told_by)
    inside = Moved(Joined(source, alignment.joined), alignment, told_by)
    return Apart(inside, source.headers(), alignment.joined)


class Moved(View):
    """The model after all maps of an alignment. `told_by` are files on which it depends besides the model's own."""

    def __init__(self, inner: Source, alignment: Alignment, told_by: Sequence[Path] = ()) -> None:
        super().__init__(inner)
        self._told_by = tuple(told_by)
        _require_places(inner, alignment)
        stored = inner.headers()
        found = {name: _maps_of(name, alignment.maps) for name in _touched(alignment.maps)}
        self._ordered = {
            name: _Ordered(name, stored[name], maps, inner) for name, maps in found.items() if _by_axes(name, maps)
        }
        rest = {name: maps for name, maps in found.items() if name not in self._ordered}
        self._computed = {name: _Computed(name, maps, inner) for name, maps in rest.items()}
        shown = {name: one.header for name, one in self._computed.items()}
        self._headers = {name: shown.get(name, header) for name, header in stored.items()}
        self._kept = Recent(max(_LEAST, 2 * max((one.piece_bytes for one in self._computed.values()), default=0)))

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        if name in self._ordered:
            self._ordered[name].read_into(start, out)
        elif name in self._computed:
            self._computed[name].read_into(start, out, self._kept)
        else:
            self._inner.read_into(name, start, out)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        if name in self._ordered and not self._ordered[name].in_place:
            return
        if name in self._computed:
            start, stop = self._computed[name].stored_range(start, stop)
        self._inner.prefetch(name, start, stop)

    def files(self) -> Sequence[Path]:
        return (*self._inner.files(), *self._told_by)


class _Computed:
    """A tensor that maps make anew: as a whole or, where they leave the first axis as it is, some rows at a time.

    Pieces do not depend on what is asked for, so that their numbers never do.
    """

    def __init__(self, name: str, maps: Sequence[AxisMap], inner: Source) -> None:
        stored = inner.headers()[name]
        self.header = _header_of(name, stored, maps, inner)
        self._name, self._maps, self._inner = name, maps, inner
        self._stored = stored
        self._row = math.prod(self.header.shape[1:])
        self._by_rows = all(0 not in (place.dim, *(dim for dim, _ in place.over)) for place in _places(name, maps))
        self._rows = max(1, _PIECE // max(self._row, 1)) if self._by_rows else self.header.shape[0]
        self._locks: dict[str, threading.Lock] = {}

    @property
    def piece_bytes(self) -> int:
        return self._rows * self._row * itemsize(self.header.dtype)

    def read_into(self, start: int, out: memoryview, kept: Recent) -> None:
        size, piece = itemsize(self.header.dtype), self._rows * self._row
        at, stop = start, start + len(out) // size
        while at < stop:
            number = at // piece
            end = min((number + 1) * piece, stop)
            first = (at - number * piece) * size
            part = self._piece(number, kept)[first : first + (end - at) * size]
            out[(at - start) * size : (end - start) * size] = part.data
            at = end

    def stored_range(self, start: int, stop: int) -> tuple[int, int]:
        """What has to be read for elements [start, stop)."""
        if not self._by_rows:
            return 0, self._stored.numel
        row = math.prod(self._stored.shape[1:])
        return start // self._row * row, -(-stop // self._row) * row

    def _piece(self, number: int, kept: Recent) -> np.ndarray:
        key = f"{number} {self._name}"
        with self._locks.setdefault(key, threading.Lock()):  # two threads that want one piece make it once
            return kept.get(key, lambda: (self._made(number * self._rows),))[0]

    def _made(self, row: int) -> np.ndarray:
        import torch

        value = _read_rows(self._inner, self._name, row, row + self._rows if self._by_rows else self._stored.shape[0])
        if _only_orders(self._maps):  # what the bytes mean does not matter, and torch cannot index every dtype
            value = mapped(self._name, value.view(getattr(torch, _CARRIERS[value.element_size()])), self._maps)
        else:
            value = mapped(self._name, value.to(torch_dtype(self.header.dtype)), self._maps)
        return value.contiguous().view(-1).view(torch.uint8).numpy()


class _Ordered:
    """A tensor of which only the order of elements changes: one vector of indices for each of its axes."""

    def __init__(self, name: str, header: Header, maps: Sequence[AxisMap], inner: Source) -> None:
        self._name = name
        self._inner = inner
        self._size = itemsize(header.dtype)
        shape = header.shape
        orders = [_order_of(name, dim, size, maps) for dim, size in enumerate(shape)]
        last = max(dim for dim, order in enumerate(orders) if order is not None or dim == 0)
        # Axes behind the last one that changes move as one piece; the first axis is read row by row.
        self._piece = math.prod(shape[last + 1 :])
        self._inside = shape[1 : last + 1]
        self._rows = np.arange(shape[0]) if orders[0] is None else orders[0]
        self._row = math.prod(shape[1:])
        self._within = _flat_index(orders[1 : last + 1], self._inside)

    @property
    def in_place(self) -> bool:
        """Whether rows stay where they are, so that reading ahead is of use."""
        return bool((np.diff(self._rows) == 1).all())

    def read_into(self, start: int, out: memoryview) -> None:
        stop = start + len(out) // self._size
        first, last = start // self._row, -(-stop // self._row)
        rows = np.empty((last - first, self._row * self._size), np.uint8)
        for at, row, count in _runs(self._rows[first:last]):
            self._inner.read_into(self._name, row * self._row, rows[at : at + count].reshape(-1).data)
        if self._within is not None:
            pieces = rows.reshape(last - first, len(self._within), self._piece * self._size)
            rows = pieces[:, self._within]
        skip = (start - first * self._row) * self._size
        out[:] = rows.reshape(-1)[skip : skip + len(out)].data


def _read_rows(source: Source, name: str, first: int, last: int) -> Tensor:
    import torch

    header = source.headers()[name]
    shape = (min(last, header.shape[0]) - first, *header.shape[1:])
    value = torch.empty(shape, dtype=torch_dtype(header.dtype))
    source.read_into(name, first * math.prod(shape[1:]), value.view(-1).view(torch.uint8).numpy().data)
    return value


def _places(name: str, maps: Sequence[AxisMap]) -> list[Place]:
    return [place for each in maps for place in each.group.places if place.tensor == name]


def _flat_index(orders: Sequence[np.ndarray | None], sizes: Sequence[int]) -> np.ndarray | None:
    """For each piece of a row where it comes from; None where all stay."""
    if all(order is None for order in orders):
        return None
    index = np.zeros((), np.int64)
    for order, size in zip(orders, sizes, strict=True):
        index = index[..., None] * size + (np.arange(size) if order is None else order)
    return index.reshape(-1)


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(where, first row, how many) of stored rows that follow one another."""
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)] if len(rows) else []
    begin = 0
    for end in ends:
        yield begin, int(rows[begin]), end - begin
        begin = end


def _order_of(name: str, dim: int, size: int, maps: Sequence[AxisMap]) -> np.ndarray | None:
    """Which old index each new one of an axis is; None where no map lies on it."""
    import torch

    here = [each for each in (_on_axis(name, dim, one) for one in maps) if each.group.places]
    return mapped(name, torch.arange(size), here).numpy() if here else None


def _on_axis(name: str, dim: int, each: AxisMap) -> AxisMap:
    """The map as if the axis were a tensor of its own."""
    places = [place for place in each.group.places if place.tensor == name and place.dim == dim]
    alone = [place._replace(dim=0, over=tuple((0, factor) for _, factor in place.over)) for place in places]
    return each._replace(group=each.group._replace(places=tuple(alone)))


def _touched(maps: Sequence[AxisMap]) -> list[str]:
    return list(dict.fromkeys(place.tensor for each in maps for place in each.group.places))


def _maps_of(name: str, maps: Sequence[AxisMap]) -> list[AxisMap]:
    return [each for each in maps if any(place.tensor == name for place in each.group.places)]


def _by_axes(name: str, maps: Sequence[AxisMap]) -> bool:
    """Whether every axis has an order of its own, the same wherever one stands on the other axes."""
    places = [(each, place) for each in maps for place in each.group.places if place.tensor == name]
    across = (each.write.ndim > 1 and any(dim != place.dim for dim, _ in place.over) for each, place in places)
    return _only_orders(maps) and not any(across)


def _only_orders(maps: Sequence[AxisMap]) -> bool:
    return not any(each.write.is_floating_point() for each in maps)


def _header_of(name: str, header: Header, maps: Sequence[AxisMap], inner: Source) -> Header:
    """Numbers that are computed come wider; widths change where a map has another number of new units."""
    if _only_orders(maps):
        return header
    if header.dtype not in MERGEABLE:
        text = f"is {header.dtype}, which no matrix can mix"
        raise InputError(text, hint="use the unquantised model.").inside(tensor=name, model=inner.label)
    shape = list(header.shape)
    for each in maps:
        for place in each.group.places:
            if place.tensor == name:
                _widen(shape, place, each)
    dtype = _WIDER.get(header.dtype, header.dtype)
    native = None if dtype == header.dtype else header.native
    return Header(dtype, tuple(shape), rounds_to=native or header.rounds_to)


def _require_places(source: Source, alignment: Alignment) -> None:
    """Every place must lie on an axis of the model, as wide as the maps before have made it."""
    headers = source.headers()
    shapes = {name: list(header.shape) for name, header in headers.items()}
    for each in alignment.maps:
        for place in each.group.places:
            if place.tensor not in headers:
                text = f"the alignment speaks of {place.tensor!r}, which the model lacks"
                hint = f"{nearest(place.tensor, headers)} Was it made for another model?".strip()
                raise InputError(text, where=f"model {source.label}", hint=hint)
            if not _fits(shapes[place.tensor], place, each.group.copies):
                text = f"has the shape {shapes[place.tensor]}, the alignment expects {place}"
                hint = "the alignment was made for a model of another width."
                raise InputError(text, hint=hint).inside(tensor=place.tensor, model=source.label)
        for place in each.group.places:
            _widen(shapes[place.tensor], place, each)


def _widen(shape: list[int], place: Place, each: AxisMap) -> None:
    if each.write.is_floating_point():
        shape[place.dim] = shape[place.dim] // each.group.size * each.write.shape[-2]


def _fits(shape: Sequence[int], place: Place, copies: int) -> bool:
    if any(dim >= len(shape) for dim in (place.dim, *(dim for dim, _ in place.over))):
        return False
    counted = [place.sizes[factor] if dim == place.dim else shape[dim] for dim, factor in place.over]
    return shape[place.dim] == math.prod(place.sizes) and math.prod(counted) == copies
