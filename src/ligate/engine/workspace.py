"""One thread's reused buffers: stored bytes of each operand, the numbers a rule sees, the bytes of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.tensors import itemsize, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor


class Block(NamedTuple):
    """Typed views of the buffers for blocks of one size."""

    stored: Sequence[Tensor]  # [n] per operand, in its stored dtype
    bytes_in: Sequence[memoryview]  # the same memory
    numbers: Tensor  # [operands, n] in the compute dtype
    rows: Sequence[Tensor]  # [n] per operand, of the same memory
    result: Tensor  # [n] in the output's dtype
    bytes_out: memoryview


class Workspace:
    """Grows to the largest block asked for and is then reused; belongs to one thread."""

    def __init__(self) -> None:
        self._stored: list[Tensor] = []
        self._numbers = torch.empty(0, dtype=torch.uint8)
        self._result = torch.empty(0, dtype=torch.uint8)
        self._last: tuple[object, Block] | None = None

    def block(self, dtypes: Sequence[str], compute: str, out: str, n: int) -> Block:
        """Views for blocks of n elements; the same as last time if nothing differs (thousands of small experts)."""
        key = (tuple(dtypes), compute, out, n)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._block(dtypes, compute, out, n))
        return self._last[1]

    def _block(self, dtypes: Sequence[str], compute: str, out: str, n: int) -> Block:
        while len(self._stored) < len(dtypes):
            self._stored.append(torch.empty(0, dtype=torch.uint8))
        for i, dtype in enumerate(dtypes):
            self._stored[i] = _at_least(self._stored[i], n * itemsize(dtype))
        self._numbers = _at_least(self._numbers, len(dtypes) * n * itemsize(compute))
        self._result = _at_least(self._result, n * itemsize(out))
        raw = [self._stored[i][: n * itemsize(dtype)] for i, dtype in enumerate(dtypes)]
        numbers = self._numbers[: len(dtypes) * n * itemsize(compute)].view(torch_dtype(compute))
        table = numbers.view(len(dtypes), n)
        result = self._result[: n * itemsize(out)]
        return Block(
            stored=[buffer.view(torch_dtype(dtype)) for buffer, dtype in zip(raw, dtypes, strict=True)],
            bytes_in=[buffer.numpy().data for buffer in raw],
            numbers=table,
            rows=table.unbind(),
            result=result.view(torch_dtype(out)),
            bytes_out=result.numpy().data,
        )


def _at_least(buffer: Tensor, nbytes: int) -> Tensor:
    return buffer if buffer.numel() >= nbytes else torch.empty(nbytes, dtype=torch.uint8)
