"""Leaving out the entries of task vectors that are smaller than a threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .order import Kth
from .rows import own

if TYPE_CHECKING:
    from torch import Tensor


def trims(density: float | Sequence[float]) -> bool:
    """Whether these densities leave anything out."""
    return (density if isinstance(density, (int, float)) else min(density)) < 1


def trimmed(rows: Iterable[Tensor], thresholds: Sequence[Kth] | None) -> Iterator[Tensor]:
    """Each row with its entries below its threshold set to zero. Overwrites the rows."""
    if thresholds is None:
        yield from rows
        return
    for row, threshold in zip(rows, thresholds, strict=True):
        yield torch.hardshrink(row, _below(threshold.value, row.dtype), out=own(row))


def _below(value: float, dtype: torch.dtype) -> float:
    """The next smaller number: hardshrink keeps what is larger than its bound, we keep what is as large as `value`."""
    kind = np.float32 if dtype == torch.float32 else np.float64
    return max(float(np.nextafter(kind(value), kind(0))), 0.0)
