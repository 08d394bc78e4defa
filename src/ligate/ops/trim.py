"""Leaving out the entries of task vectors that are smaller than a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .before import Before, cut, cut_stored

if TYPE_CHECKING:
    from .order import Kth


def trims(density: float | Sequence[float]) -> bool:
    """Whether these densities leave anything out."""
    return (density if isinstance(density, (int, float)) else min(density)) < 1


def _bounds(models: int, threshold: Sequence[Kth] | None = None, **_: Any) -> tuple[list[float], list[float]]:
    return [kth.value for kth in threshold] if threshold else [0.0] * models, [math.inf] * models


TRIMMED = Before(
    lambda base, tuned, **known: cut(base, tuned, *_bounds(len(tuned), **known)),
    lambda stored, **known: cut_stored(stored, *_bounds(len(stored.rows), **known)),
)
"""Each task vector with its entries below its threshold set to zero."""
