"""The best approximation of a large matrix by one of low rank, from blocks of its columns in float64.

The matrix lies: it has at most as many rows as columns, and is never needed as a whole. Which way is taken depends on
its shape and on what is asked for, never on the machine:

svd       small matrices: the singular value decomposition itself.
gram      by way of the Gram matrix of the rows; singular values below `least_share` of the largest count as zero.
subspace  few directions of a large matrix: block power iteration with Rayleigh-Ritz, until another round would keep
          less than a millionth more of the energy. The kept energy is exact, the directions are the best but for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.core.draw import uniform

from .spectrum import Spectrum, gram, least_share, spectrum

if TYPE_CHECKING:
    from torch import Tensor

Blocks = Callable[[], Iterable["Tensor"]]
"""A new round through the columns: blocks [rows, w] in float64, the same ones each time."""
How = Literal["svd", "gram", "subspace"]

_SMALL = 1 << 18  # elements up to which the decomposition itself is quick
_FEW = 16  # the iteration wins where the rows are so many times the directions
_SPARE = 16  # directions beyond those asked for: they make the iteration converge
_ROUNDS = 40
_GAIN = 1e-6


class Truncation(NamedTuple):
    """Orthonormal directions on the side of the rows, the strongest first, and what they have of the energy."""

    vectors: Tensor  # [rows, r]
    values: Tensor  # [r], singular values
    energy: float  # the sum of all squared entries
    how: How

    @property
    def rank(self) -> int:
        return len(self.values)


def truncated(blocks: Blocks, shape: tuple[int, int], rank: int | None, energy: float | None) -> Truncation:
    """The strongest directions: `rank` of them, or as few as have this share of the energy; with both at most `rank`.

    Directions without energy are left out; there are none for a matrix of zeros. Each vector's largest entry is
    positive, so that the same matrix gives the same signs.
    """
    how = way(shape, rank, energy)
    found = _WAYS[how](blocks, shape, rank or min(shape))
    kept = found.top(_enough(found, rank, energy))
    return Truncation(_with_signs(kept.vectors), kept.values, found.energy, how)


def way(shape: tuple[int, int], rank: int | None, energy: float | None) -> How:
    """Which way a matrix of this shape goes."""
    if math.prod(shape) <= _SMALL:
        return "svd"
    return "subspace" if rank is not None and energy is None and _FEW * _width(rank) <= shape[0] else "gram"


def working_bytes(shape: tuple[int, int], rank: int | None, energy: float | None) -> int:
    """Memory beside the blocks."""
    rows = shape[0]
    match way(shape, rank, energy):
        case "svd":
            return 8 * 5 * math.prod(shape)
        case "gram":
            return 8 * 4 * rows * rows
        case "subspace":
            return 8 * 6 * rows * _width(rank or 1)


def _svd(blocks: Blocks, shape: tuple[int, int], rank: int) -> Spectrum:
    whole = torch.cat(list(blocks()), dim=1)
    vectors, values, _ = torch.linalg.svd(whole, full_matrices=False)
    noise = max(shape) * torch.finfo(torch.float64).eps
    count = int((values > noise * values[:1]).sum())
    return Spectrum(values[:count], vectors[:, :count], float(whole.square().sum()))


def _gram(blocks: Blocks, shape: tuple[int, int], rank: int) -> Spectrum:
    return spectrum(gram(blocks()))


def _subspace(blocks: Blocks, shape: tuple[int, int], rank: int) -> Spectrum:
    width, kept = _width(rank), 0.0
    start = uniform(0, "truncation", "", 0, 0, shape[0] * width).reshape(shape[0], width)
    found = vectors = torch.linalg.qr(torch.from_numpy(start).double() - 0.5)[0]
    values, energy = vectors.new_zeros(0), 0.0
    for _ in range(_ROUNDS):
        image, energy = _through(blocks(), vectors)
        small = vectors.T @ image
        values, turn = torch.linalg.eigh((small + small.T) / 2)
        values, found = values.flip(0).clamp_min(0), vectors @ turn.flip(1)
        now = float(values[:rank].sum())
        if now - kept <= _GAIN * now:
            break
        kept, vectors = now, torch.linalg.qr(image / image.abs().max())[0]
    count = int((values[:rank] > least_share(shape[0]) ** 2 * values[:1]).sum())
    return Spectrum(values[:count].sqrt(), found[:, :count], energy)


def _through(blocks: Iterable[Tensor], vectors: Tensor) -> tuple[Tensor, float]:
    """A A^T times the vectors, and the sum of A's squared entries."""
    image, energy = torch.zeros_like(vectors), 0.0
    for block in blocks:
        image.addmm_(block, block.T @ vectors)
        energy += float(block.square().sum())
    return image, energy


_WAYS: dict[How, Callable[[Blocks, tuple[int, int], int], Spectrum]] = {
    "svd": _svd,
    "gram": _gram,
    "subspace": _subspace,
}


def _width(rank: int) -> int:
    return rank + max(_SPARE, rank // 2)


def _enough(found: Spectrum, rank: int | None, energy: float | None) -> int:
    """How many directions are asked for."""
    most = len(found.values) if rank is None else min(rank, len(found.values))
    if energy is None or most == 0:
        return most
    shares = found.values.square().cumsum(0) / found.energy
    return min(most, int((shares < energy).sum()) + 1)


def _with_signs(vectors: Tensor) -> Tensor:
    if not vectors.numel():
        return vectors
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0).to(vectors.dtype)
