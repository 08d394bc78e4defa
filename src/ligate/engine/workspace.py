"""One thread's reused buffers: stored bytes of each operand, the numbers a rule sees, the bytes of the result."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ligate.core.tensors import itemsize, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.core.direct import Stored


class Buffer:
    """Memory from the start of a page on; views of it keep it alive. Pages that nobody touches take no memory."""

    def __init__(self, nbytes: int) -> None:
        self._memory = mmap.mmap(-1, max(nbytes, 1))
        self.nbytes = nbytes
        self.bytes = memoryview(self._memory)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def tensor(self, dtype: str, n: int) -> Tensor:
        """The first n numbers."""
        import torch

        if not n:
            return torch.empty(0, dtype=torch_dtype(dtype))
        return torch.frombuffer(self.bytes, dtype=torch_dtype(dtype), count=n)


class Block:
    """Views of the buffers for blocks of n elements; those that only torch needs are made when they are asked for."""

    def __init__(self, stored: Sequence[Buffer], numbers: Buffer, result: Buffer, key: _Key) -> None:
        self.dtypes, self.sizes, self._compute, self._out, self.n = key
        self._stored, self._numbers, self._result = stored, numbers, result
        nbytes = [size * itemsize(dtype) for size, dtype in zip(self.sizes, self.dtypes, strict=True)]
        self.bytes_in = [buffer.bytes[:size] for buffer, size in zip(stored, nbytes, strict=True)]
        self.bytes_out = result.bytes[: self.n * itemsize(self._out)]
        self.addresses = [buffer.address for buffer in stored]  # of `bytes_in`
        self.address_out = result.address
        self.tables: dict[bool, Stored] = {}  # `addresses` as compiled loops want them, with and without a base

    @cached_property
    def stored(self) -> Sequence[Tensor]:
        """[size] per operand, in its stored dtype: the memory of `bytes_in`."""
        kinds = zip(self._stored, self.dtypes, self.sizes, strict=True)
        return [buffer.tensor(dtype, size) for buffer, dtype, size in kinds]

    @cached_property
    def numbers(self) -> Tensor:
        """All operands behind each other, in the compute dtype."""
        return self._numbers.tensor(self._compute, sum(self.sizes))

    @cached_property
    def rows(self) -> Sequence[Tensor]:
        """[size] per operand, the memory of `numbers`."""
        return self.numbers.split(list(self.sizes))

    def stacked(self, first: int, count: int) -> Tensor:
        """[count, n]: so many operands of n elements each, from the one at `first` on."""
        start = sum(self.sizes[:first])
        return self.numbers[start : start + count * self.n].view(count, self.n)

    @cached_property
    def result(self) -> Tensor:
        """[n] in the output's dtype: the memory of `bytes_out`."""
        return self._result.tensor(self._out, self.n)


_Key = tuple[tuple[str, ...], tuple[int, ...], str, str, int]
"""Stored dtypes, elements of each operand, compute dtype; dtype and elements of the result."""


class Workspace:
    """Grows to the largest block asked for and is then reused; belongs to one thread."""

    def __init__(self) -> None:
        self._stored: list[Buffer] = []
        self._numbers, self._result = Buffer(0), Buffer(0)
        self._last: tuple[_Key, Block] | None = None

    def block(self, dtypes: Sequence[str], sizes: tuple[int, ...], compute: str, out: str, n: int) -> Block:
        """Views for blocks of n elements; the same as last time if nothing differs (thousands of small experts).

        `sizes` are the elements of each operand: n, but for one that is read whole.
        """
        key = (tuple(dtypes), sizes, compute, out, n)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._block(key))
        return self._last[1]

    def _block(self, key: _Key) -> Block:
        dtypes, sizes, compute, out, n = key
        self._stored += [Buffer(0) for _ in dtypes[len(self._stored) :]]
        for i, dtype in enumerate(dtypes):
            self._stored[i] = _at_least(self._stored[i], sizes[i] * itemsize(dtype))
        self._numbers = _at_least(self._numbers, sum(sizes) * itemsize(compute))
        self._result = _at_least(self._result, n * itemsize(out))
        return Block(self._stored[: len(dtypes)], self._numbers, self._result, key)


def _at_least(buffer: Buffer, nbytes: int) -> Buffer:
    return buffer if buffer.nbytes >= nbytes else Buffer(nbytes)
