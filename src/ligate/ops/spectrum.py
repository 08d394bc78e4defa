"""Singular values and vectors of large matrices by way of their Gram matrix, in float64 and little memory.

A matrix arrives in float64 blocks of columns and is never there as a whole; laid down, it has few rows, and
the Gram matrix of the rows is small. Gram matrices square the singular values: what is below `least_share` of the
largest one is lost in rounding, and is taken for zero here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import NonFiniteError
from ligate.core.spare import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 1 << 23  # elements of a block: 64 MiB in float64
_PANELS = 8  # a Gram matrix is symmetric: in so many panels of rows, seven sixteenths of the products are left out


class Spectrum(NamedTuple):
    """The singular values above the noise, largest first, and the vectors on the side of the rows."""

    values: Tensor  # [r]
    vectors: Tensor  # [m, r]
    energy: float  # the sum of all squared singular values

    def top(self, count: int) -> Spectrum:
        return Spectrum(self.values[:count], self.vectors[:, :count].clone(), self.energy)  # the rest may be forgotten

    @property
    def kept(self) -> float:
        """Which share of the energy these singular values have."""
        return float(self.values.square().sum()) / self.energy if self.energy > 0 else 1.0


def parts(shape: Sequence[int]) -> Iterator[slice]:
    """Which columns of a matrix of this shape make up a block; the cut depends on the shape alone."""
    rows, width = shape
    step = max(1, AT_ONCE // max(rows, 1))
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))


def gram(blocks: Iterable[Tensor]) -> Tensor:
    """A A^T from the columns of A, in float64."""
    total: Tensor | None = None
    for block in blocks:
        if total is None:
            total = block.new_zeros(len(block), len(block))
        _add_square(total, block)
    if total is None:
        return torch.zeros(0, 0, dtype=torch.float64)
    return total.tril_().add_(total.tril(-1).T)


def _add_square(total: Tensor, block: Tensor) -> None:
    """Add block block^T to the lower half of `total`, and to some of the upper half."""
    rows = len(block)
    step = max(1, math.ceil(rows / _PANELS))

    def add(start: int) -> None:
        stop = min(start + step, rows)
        total[start:stop, :stop].addmm_(block[start:stop], block[:stop].T)

    side_by_side(add, reversed(range(0, rows, step)))  # the largest first, so that all threads end together


def least_share(rows: int) -> float:
    """Which share of the largest singular value can still be told from rounding."""
    return math.sqrt(4 * max(rows, 1) * torch.finfo(torch.float64).eps)


def spectrum(square: Tensor) -> Spectrum:
    """Singular values and left vectors of A from its Gram matrix A A^T. Rows of zeros in A stay exactly zero.

    Raises:
        NonFiniteError: A holds NaN or infinity, or numbers whose squares overflow.
    """
    if not square.isfinite().all():
        raise NonFiniteError(
            "the squares of a task vector's entries are not all finite",
            hint="repair the checkpoint that holds NaN, infinity or numbers near the end of float64.",
        )
    values, vectors = torch.linalg.eigh(square)
    values, vectors = values.flip(0), vectors.flip(1)
    energy = float(values.clamp_min(0).sum())
    rank = int((values > least_share(len(square)) ** 2 * values[:1]).sum()) if energy > 0 else 0
    vectors = vectors[:, :rank] * (square.diagonal() > 0)[:, None]
    return Spectrum(values[:rank].sqrt(), vectors, energy)


def inverse_root(square: Tensor) -> Tensor:
    """The pseudo-inverse of the square root of a Gram matrix: times A it gives A's nearest orthogonal matrix."""
    values, vectors, _ = spectrum(square)
    return gram([vectors / values.sqrt()])


def orthogonal(vectors: Tensor) -> Tensor:
    """The polar factor of A [m, r]: A with all its singular values set to 1, those that are zero left at zero."""
    if vectors.shape[1] <= vectors.shape[0]:
        return vectors @ inverse_root(gram([vectors.T]))
    return inverse_root(gram([vectors])) @ vectors
