"""Leaving out both tails of a task vector: its few largest entries and its many small ones.

The steps take `params` with "density", "gamma" (both per model) and "rescale", as a recipe gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ligate.core.method import Stat

from .before import Before, cut, cut_stored
from .norms import l1_gain
from .order import Kth, kth_largest
from .rows import per_model
from .trim import trims


def middle_stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The largest magnitude that stays, then the smallest that stays, then what the tails took; per tensor."""
    density = params["density"]
    if not trims(density):
        return ()
    stats: list[Stat] = []
    if _cuts_outliers(params):
        stats.append(_largest_kept(params))
    stats.append(kth_largest("threshold", "tensor", density, rank=_floor, before=MIDDLE))
    if params["rescale"] == "l1":
        stats.append(l1_gain("tensor", MIDDLE))
    return stats


def _bounds(
    models: int, largest: Sequence[Kth] | None = None, threshold: Sequence[Kth] | None = None, **_: Any
) -> tuple[list[float], list[float]]:
    """Between which magnitudes each model's changes stay; a largest of rank 0 cuts nothing."""
    low = [kth.value for kth in threshold] if threshold else [0.0] * models
    high = [kth.value if kth.kept else math.inf for kth in largest] if largest else [math.inf] * models
    return low, high


MIDDLE = Before(
    lambda base, tuned, **known: cut(base, tuned, *_bounds(len(tuned), **known)),
    lambda stored, **known: cut_stored(stored, *_bounds(len(stored.rows), **known)),
)
"""Both tails of each task vector set to zero, as far as they have been measured."""


def _cuts_outliers(params: Mapping[str, Any]) -> bool:
    gamma = params["gamma"]
    return (gamma if isinstance(gamma, (int, float)) else max(gamma)) > 0


def _largest_kept(params: Mapping[str, Any]) -> Stat:
    """How many go at the upper end: the share gamma, but never so many that too few would be left."""

    def start(models: int) -> Any:
        keep = per_model(params["density"], models, name="density")
        cut = per_model(params["gamma"], models, name="gamma")
        shares = [min(one, 1 - share) for one, share in zip(cut, keep, strict=True)]
        ranks = [partial(_after, *pair) for pair in zip(cut, keep, strict=True)]
        return kth_largest("largest", "tensor", shares, rank=ranks).init(models)

    return kth_largest("largest", "tensor", 0.0)._replace(init=start)


def _after(cut: float, keep: float, share: float, numel: int) -> int:
    """The rank of the first one that stays, where `keep` are to be left; 0 where none goes."""
    gone = min(int(cut * numel), numel - int(keep * numel)) if share > 0 else 0
    return min(gone + 1, numel) if gone else 0


def _floor(share: float, numel: int) -> int:
    return int(share * numel)
