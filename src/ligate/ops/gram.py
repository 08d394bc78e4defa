"""Merges that are combinations of the models whose coefficients follow from dot products between them.

What the dot products are taken over is a vector: the whole tensor, each row (the last axis) or each column (the first
axis). They are summed in float64 in one pass, so that no rule needs a whole tensor at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ligate.core import kernels
from ligate.core.direct import Combination, Stored
from ligate.core.method import Site, Stat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Along = Literal["tensor", "rows", "columns"]
"""What counts as one vector."""

NO_LENGTH = 1e-145  # the square of a smaller length is lost to underflow
_VANISHED = 1e-8  # a sum of unit vectors shorter than this has no direction


def coefficient_stat(name: str, along: Along, coefficients: Callable[[NDArray[Any]], NDArray[Any]]) -> Stat:
    """What `coefficients` makes of the dot products [vectors, K, K]: one number per model and vector, [K, vectors].

    The dot products are between the task vectors, or between the models where there is no base.
    """

    def observe(dots: NDArray[Any] | None, base: Tensor | None, tuned: Tensor, *, site: Site) -> NDArray[Any]:
        found = _products(base, tuned, site, along)
        return found if dots is None else dots + found

    def direct(dots: NDArray[Any] | None, stored: Stored, **_: Any) -> NDArray[Any]:
        found = np.array(stored.dots())[:, None]
        return found if dots is None else dots + found

    return Stat(
        name=name,
        scope="tensor",
        init=lambda models: None,
        observe=observe,
        merge=lambda a, b: a + b,
        finish=lambda dots: coefficients(_square(dots)),
        report=_told,
        direct=direct if along == "tensor" else None,
    )


def combination(known: Mapping[str, Any], models: int) -> Combination:
    """For a card, where each model has one coefficient."""
    return Combination(known["coefficients"][:, 0].tolist())


def combined(base: Tensor | None, tuned: Tensor, coefficients: NDArray[Any], along: Along, site: Site | None) -> Tensor:
    """Base plus the task vectors, or the models alone, each times its coefficient [K, vectors] of this block."""
    rows = tuned.reshape(len(tuned), -1)
    start = None if base is None else base.reshape(-1)
    if coefficients.shape[1] == 1:
        numbers = coefficients[:, 0].tolist()
        if start is None:
            return kernels.weighted_sum(rows, numbers).view(tuned.shape[1:])
        return kernels.add_weighted(start, rows, numbers, 1.0, models=True).view(tuned.shape[1:])
    shape = site.shape if site else tuple(tuned.shape[1:])
    vector = _vectors(shape, site.start if site else 0, rows.shape[1], along)
    origin = torch.zeros_like(rows[0]).double() if start is None else start.double()
    merged = origin
    for row, shares in zip(rows, coefficients, strict=True):
        merged = merged + (row.double() - origin) * torch.from_numpy(shares[vector])
    return merged.to(tuned.dtype).view(tuned.shape[1:])


def lengths_of(gram: NDArray[Any]) -> NDArray[Any]:
    """Lengths [vectors, K] from dot products [vectors, K, K]; 0 for what is too short to have a direction."""
    lengths = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    return np.where(lengths > NO_LENGTH, lengths, 0.0)


def cosines_of(gram: NDArray[Any]) -> NDArray[Any]:
    """Cosines [vectors, K, K] from dot products [vectors, K, K]; 0 beside a vector without length."""
    lengths = lengths_of(gram)
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return np.clip(gram * inverse[:, :, None] * inverse[:, None, :], -1.0, 1.0)


def length_of_sum(cosines: NDArray[Any], shares: NDArray[Any]) -> float:
    """Length of a sum of unit vectors with these cosines [K, K]; 0 where they cancel out."""
    square = float(shares @ cosines @ shares)
    length = math.sqrt(max(square, 0.0))
    return length if length > _VANISHED else 0.0


def _products(base: Tensor | None, tuned: Tensor, site: Site, along: Along) -> NDArray[Any]:
    """[pairs, vectors], of one block."""
    models = [row.double() if base is None else row.double() - base.double() for row in tuned]
    pairs = combinations_with_replacement(models, 2)
    if along == "tensor":
        return np.array([[kernels.dot(a.reshape(-1), b.reshape(-1))] for a, b in pairs])
    vector = _vectors(site.shape, site.start, tuned.shape[1], along)
    count = _count(site.shape, along)
    return np.stack([np.bincount(vector, weights=(a * b).numpy(), minlength=count) for a, b in pairs])


def _square(dots: NDArray[Any]) -> NDArray[Any]:
    """Pairs [pairs, vectors] as symmetric matrices [vectors, K, K]; what overflowed has no length and no direction."""
    dots = np.nan_to_num(dots, nan=0.0, posinf=0.0, neginf=0.0)
    models = (math.isqrt(8 * len(dots) + 1) - 1) // 2
    square = np.empty((dots.shape[1], models, models))
    for pair, (i, j) in enumerate(combinations_with_replacement(range(models), 2)):
        square[:, i, j] = square[:, j, i] = dots[pair]
    return square


def _count(shape: Sequence[int], along: Along) -> int:
    if along == "tensor" or not shape:
        return 1
    return math.prod(shape[:-1] if along == "rows" else shape[1:])


def _vectors(shape: Sequence[int], start: int, size: int, along: Along) -> NDArray[np.int64]:
    """Which vector each element of a block belongs to."""
    at = np.arange(start, start + size)
    if along == "rows":
        return at // (shape[-1] if shape else 1)
    return at % _count(shape, along)


def _told(coefficients: NDArray[Any]) -> Mapping[str, Any]:
    if coefficients.shape[1] == 1:
        return {"coefficients": coefficients[:, 0].tolist()}
    return {"mean": coefficients.mean(1).tolist(), "vectors": coefficients.shape[1]}
