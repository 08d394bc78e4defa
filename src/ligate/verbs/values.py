"""Numbers of stored tensors, block by block: a bounded look at checkpoints of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ligate.core.tensors import Header, Source, itemsize, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 20  # elements read together


def stored_blocks(source: Source, name: str, block: int = BLOCK) -> Iterator[Tensor]:
    """The flattened tensor in pieces, in its stored dtype. A piece is only valid until the next one is asked for."""
    import torch

    header: Header = source.headers()[name]
    buffer = torch.empty(min(block, max(header.numel, 1)) * itemsize(header.dtype), dtype=torch.uint8)
    for start in range(0, header.numel, block):
        raw = buffer[: min(block, header.numel - start) * itemsize(header.dtype)]
        source.read_into(name, start, raw.numpy().data)
        yield raw.view(torch_dtype(header.dtype))


def numbers(stored: Tensor) -> Tensor:
    """float64 numbers; real and imaginary parts of complex ones follow each other."""
    import torch

    return (torch.view_as_real(stored).reshape(-1) if stored.is_complex() else stored).to(torch.float64)
