"""A model whose tensors with a row per token stand in another order, or have rows that it did not have.

Nothing is copied: a row is read where it lies whenever it is asked for. Rows that come from other models (one of them,
or the average of several) are read there, the average row of the model itself is measured once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ligate.core.errors import InputError
from ligate.core.tensors import MERGEABLE, Header, Source, itemsize

from .low_rank import read_numbers
from .recent import Recent
from .views import View

MEAN = -1
FILLED = -2
_SMALL = 1 << 20  # bytes; such tensors (biases) are put in order once
_CACHE = 8 << 20
_CHUNK = 1 << 16  # elements per read of the average row; fixed, so that the sum is the same for any reader

Origin = tuple[str, int]
"""Label of a model, number of a row of the tensor of the same name."""


@dataclass(frozen=True)
class Layout:
    """Whence each row of a tensor comes.

    `own` holds a row of the model itself, `MEAN` for the average of all other rows, or `FILLED`: then `filled` says
    which rows are averaged. None at all is a row of zeros.
    """

    own: np.ndarray
    filled: Mapping[int, Sequence[Origin]] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether every row is the model's own, in its place."""
        return not self.filled and bool(np.array_equal(self.own, np.arange(len(self.own))))


@dataclass(frozen=True)
class Rows:
    """One tensor of a view: the axis along which its rows lie (all sizes before it are 1), and whence they come."""

    axis: int
    layout: Layout


class Reordered(View):
    """The model with other rows in the named tensors. `models` holds those that rows come from; they stay open.

    A tensor keeps its dtype where rows are only copied between models of one dtype; else its numbers become float32
    (float64 if one of the models has that) and round to the dtype in which the model stores them.
    """

    def __init__(
        self, inner: Source, rows: Mapping[str, Rows], models: Mapping[str, Source], told_by: Sequence[Path] = ()
    ) -> None:
        super().__init__(inner)
        self._told_by = tuple(told_by)
        small = Recent(_CACHE)
        self._tensors = {name: _Tensor(name, inner, one, models, small) for name, one in rows.items()}
        shown = {name: tensor.header for name, tensor in self._tensors.items()}
        self._headers = {name: shown.get(name, header) for name, header in inner.headers().items()}

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        tensor = self._tensors.get(name)
        if tensor is None:
            self._inner.read_into(name, start, out)
        else:
            tensor.read_into(start, out)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        tensor = self._tensors.get(name)
        low, high = (start, stop) if tensor is None else tensor.stored_range(start, stop)
        if low < high:
            self._inner.prefetch(name, low, high)

    def files(self) -> Sequence[Path]:
        return (*self._inner.files(), *self._told_by)


class _Tensor:
    """One tensor whose rows are looked up."""

    def __init__(self, name: str, inner: Source, rows: Rows, models: Mapping[str, Source], small: Recent) -> None:
        stored = inner.headers()[name]
        self.name = name
        self.inner = inner
        self.layout = rows.layout
        self.models = models
        self.small = small
        self.width = math.prod(stored.shape[rows.axis + 1 :])
        shape = (*stored.shape[: rows.axis], len(rows.layout.own), *stored.shape[rows.axis + 1 :])
        dtype = _common_dtype(name, stored, rows.layout, models)
        native = None if dtype == stored.dtype else stored.native
        self.header = Header(dtype, shape, rounds_to=native or stored.rounds_to)
        self.stored_dtype = stored.dtype
        self._mean: np.ndarray | None = None
        self._lock = threading.Lock()

    def read_into(self, start: int, out: memoryview) -> None:
        if self.header.nbytes > _SMALL:
            self._read(start, out)
            return
        (whole,) = self.small.get(self.name, self._whole)
        first = start * itemsize(self.header.dtype)
        out[:] = whole[first : first + len(out)].data

    def stored_range(self, start: int, stop: int) -> tuple[int, int]:
        """Where the model's own numbers for this range lie, if they lie together."""
        own = self.layout.own[start // self.width : -(-stop // self.width)]
        own = own[own >= 0]
        if not own.size or int(own.max() - own.min()) > 2 * own.size:
            return 0, 0
        return int(own.min()) * self.width, (int(own.max()) + 1) * self.width

    def _whole(self) -> tuple[np.ndarray]:
        whole = np.empty(self.header.nbytes, np.uint8)
        self._read(0, whole.data)
        return (whole,)

    def _read(self, start: int, out: memoryview) -> None:
        size = itemsize(self.header.dtype)
        at = start
        for row, count in self._runs(start, start + len(out) // size):
            stop = min((row + count) * self.width, start + len(out) // size)
            part = out[(at - start) * size : (stop - start) * size]
            skip = at - row * self.width
            origin = int(self.layout.own[row])
            if origin >= 0:
                self._read_own(origin * self.width + skip, part)
            else:
                self._fill(row, origin, skip, part)
            at = stop

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """(first row, how many) of rows that lie one after another in the model; every other row alone."""
        first, last = start // self.width, -(-stop // self.width)
        own = self.layout.own[first:last]
        together = (np.diff(own) == 1) & (own[:-1] >= 0)
        ends = [*(np.flatnonzero(~together) + 1).tolist(), len(own)] if len(own) else []
        begin = 0
        for end in ends:
            yield first + begin, end - begin
            begin = end

    def _read_own(self, start: int, out: memoryview) -> None:
        if self.header.dtype == self.stored_dtype:
            self.inner.read_into(self.name, start, out)
        else:
            numbers = self._numbers(out)
            numbers[:] = read_numbers(self.inner, self.name, start, start + numbers.size)

    def _fill(self, row: int, origin: int, skip: int, out: memoryview) -> None:
        size = itemsize(self.header.dtype)
        origins = self.layout.filled[row] if origin == FILLED else ()
        if origin == MEAN:
            self._numbers(out)[:] = self._mean_row()[skip : skip + len(out) // size]
        elif not origins:
            out[:] = bytes(len(out))
        elif len(origins) == 1 and self.header.dtype == self._dtype_of(origins[0]):
            label, number = origins[0]
            self.models[label].read_into(self.name, number * self.width + skip, out)
        else:
            self._numbers(out)[:] = self._average(origins, skip, len(out) // size)

    def _average(self, origins: Sequence[Origin], skip: int, count: int) -> np.ndarray:
        total = np.zeros(count)
        for label, number in origins:
            start = number * self.width + skip
            total += read_numbers(self.models[label], self.name, start, start + count)
        return total / len(origins)

    def _mean_row(self) -> np.ndarray:
        """The average of all rows that are not averages themselves; measured by the first who needs it."""
        with self._lock:
            if self._mean is None:
                self._mean = self._measured()
            return self._mean

    def _measured(self) -> np.ndarray:
        total, count = np.zeros(self.width), 0
        step = max(1, _CHUNK // self.width)
        for first, last in _stretches(self.layout.own != MEAN):
            for low in range(first, last, step):
                rows = min(step, last - low)
                raw = memoryview(bytearray(rows * self.width * itemsize(self.header.dtype)))
                self._read(low * self.width, raw)
                total += self._numbers(raw).reshape(rows, self.width).sum(axis=0, dtype=np.float64)
                count += rows
        return total / max(count, 1)

    def _numbers(self, raw: memoryview) -> np.ndarray:
        return np.frombuffer(raw, f"f{itemsize(self.header.dtype)}")

    def _dtype_of(self, origin: Origin) -> str:
        return self.models[origin[0]].headers()[self.name].dtype


def _stretches(chosen: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _common_dtype(name: str, stored: Header, layout: Layout, models: Mapping[str, Source]) -> str:
    givers = {label for origins in layout.filled.values() for label, _ in origins}
    dtypes = {stored.dtype, *(models[label].headers()[name].dtype for label in givers)}
    computed = bool((layout.own == MEAN).any()) or any(len(origins) > 1 for origins in layout.filled.values())
    if not computed and len(dtypes) == 1:
        return stored.dtype
    if not dtypes <= MERGEABLE:
        told = ", ".join(sorted(dtypes - MERGEABLE))
        raise InputError(f"{name!r} is {told}, whose rows cannot be averaged", hint="use the unquantised model.")
    return "F64" if "F64" in dtypes else "F32"
