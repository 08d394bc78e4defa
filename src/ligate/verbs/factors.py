"""The two factors of a weight's change, computed and kept on the disk until the adapter can be laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import NonFiniteError
from ligate.core.tensors import itemsize, torch_dtype
from ligate.io.adapter_layout import Kind, turned
from ligate.io.ranges import cannot_write
from ligate.ops.truncation import Truncation, truncated, working_bytes

from .changes import BLOCK, Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Wish(NamedTuple):
    """What was asked for: a rank, an energy or both, and how factors are stored."""

    rank: int | None
    energy: float | None
    dtype: str


@dataclass(frozen=True)
class Factored:
    """What became of one weight. A change of zero has rank 0 and no factors."""

    rank: int
    energy: float  # of the change: its squared norm
    lost: float  # squared norm of what the stored factors lack
    kept: float  # share of the energy that the rank keeps, before the factors are rounded
    how: str


class Spool:
    """Files of raw factors in a folder: what their shapes are is only known when all are computed."""

    def __init__(self, folder: Path, names: Mapping[str, int], dtype: str) -> None:
        self.dtype = dtype
        self._folder = folder
        self._numbers = names
        folder.mkdir()

    def write(self, name: str, part: str, factor: Tensor) -> None:
        path = self._path(name, part)
        try:
            factor.reshape(-1).contiguous().view(torch.uint8).numpy().tofile(path)
        except OSError as error:
            raise cannot_write(path, error) from None

    def read(self, name: str, part: str) -> Iterator[tuple[int, bytes]]:
        """Pieces of a factor, each with the number of its first element."""
        size, start = itemsize(self.dtype), 0
        with self._path(name, part).open("rb") as file:
            while piece := file.read(BLOCK * size):
                yield start, piece
                start += len(piece) // size

    def remove(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()

    def _path(self, name: str, part: str) -> Path:
        return self._folder / f"{self._numbers[name]}.{part}"


def factored(change: Change, kind: Kind, wish: Wish, spool: Spool) -> Factored:
    """Approximate a weight's change and put A and B, each with half of the singular values, into the spool."""
    found = truncated(change.blocks, change.shape, wish.rank, wish.energy)
    if not found.rank:
        return Factored(0, found.energy, found.energy, 1.0 if found.energy == 0 else 0.0, found.how)
    left, right, lost = _both(change, found, torch_dtype(wish.dtype))
    down, up = (left.T, right.T) if change.over != turned(kind) else (right, left)
    spool.write(change.name, "down", down)
    spool.write(change.name, "up", up)
    kept = float(found.values.square().sum()) / found.energy
    return Factored(found.rank, found.energy, lost, min(kept, 1.0), found.how)


def bytes_for(change: Change, wish: Wish) -> int:
    """Memory that `factored` needs for a tensor."""
    rank = min(wish.rank or change.shape[0], change.shape[0])
    factors = (8 + itemsize(wish.dtype)) * rank * sum(change.shape)
    return change.held_bytes() + working_bytes(change.shape, wish.rank, wish.energy) + factors


def _both(change: Change, found: Truncation, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """The rounded factors [side, r] and [r, length] of the lying matrix, and the energy that their product lacks."""
    roots = found.values.sqrt()
    left = _rounded(found.vectors * roots, dtype, change)
    reader, wide = (found.vectors / roots).T, left.double()
    right = torch.empty(found.rank, change.shape[1], dtype=dtype)
    lost, start = 0.0, 0
    for block in change.blocks():
        part = right[:, start : start + block.shape[1]]
        part.copy_(_rounded(reader @ block, dtype, change))
        lost += float((block - wide @ part.double()).square_().sum())
        start += block.shape[1]
    return left, right, lost


def _rounded(numbers: Tensor, dtype: torch.dtype, change: Change) -> Tensor:
    rounded = numbers.to(dtype)
    if not rounded.isfinite().all():
        text = f"a factor reaches {float(numbers.abs().max()):.3g}, which {str(dtype).removeprefix('torch.')} lacks"
        raise NonFiniteError(text, hint="store the factors as bfloat16 or float32.").inside(tensor=change.name)
    return rounded
