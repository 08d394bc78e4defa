"""Leaving out both tails of a task vector: its few largest entries and its many small ones.

The steps take `params` with "density", "gamma" (both per model) and "rescale", as a recipe gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ligate.core.method import Site, Stat

from .norms import l1_gain
from .order import Kth, kth_largest
from .rows import deltas, own, per_model
from .trim import trimmed, trims

if TYPE_CHECKING:
    from torch import Tensor


def middle_stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The largest magnitude that stays, then the smallest that stays, then what the tails took; per tensor."""
    density = params["density"]
    if not trims(density):
        return ()
    stats: list[Stat] = []
    if _cuts_outliers(params):
        stats.append(_largest_kept(params))
    stats.append(kth_largest("threshold", "tensor", density, _without_outliers, rank=_floor))
    if params["rescale"] == "l1":
        stats.append(l1_gain("tensor", _whole, middle_rows))
    return stats


def middle_rows(
    base: Tensor,
    tuned: Tensor,
    *,
    largest: Sequence[Kth] | None = None,
    threshold: Sequence[Kth] | None = None,
    **_: Any,
) -> Iterator[Tensor]:
    """Task vectors with both tails set to zero."""
    return trimmed(_without_outliers(base, tuned, largest=largest), threshold)


def _cuts_outliers(params: Mapping[str, Any]) -> bool:
    gamma = params["gamma"]
    return (gamma if isinstance(gamma, (int, float)) else max(gamma)) > 0


def _largest_kept(params: Mapping[str, Any]) -> Stat:
    """How many go at the upper end: the share gamma, but never so many that too few would be left."""

    def start(models: int) -> Any:
        keep = per_model(params["density"], models, name="density")
        cut = per_model(params["gamma"], models, name="gamma")
        shares = [min(one, round(1 - share, 12)) for one, share in zip(cut, keep, strict=True)]
        return kth_largest("largest", "tensor", shares, rank=_after).init(models)

    return kth_largest("largest", "tensor", 0.0, rank=_after)._replace(init=start)


def _after(share: float, numel: int) -> int:
    """The rank of the first one that stays."""
    return min(int(share * numel) + 1, numel) if share > 0 else 0


def _floor(share: float, numel: int) -> int:
    return int(share * numel)


def _whole(base: Tensor, tuned: Tensor, **_: Any) -> Iterable[Tensor]:
    return deltas(base, tuned)


def _without_outliers(
    base: Tensor, tuned: Tensor, *, largest: Sequence[Kth] | None = None, site: Site | None = None, **_: Any
) -> Iterator[Tensor]:
    for k, row in enumerate(deltas(base, tuned)):
        if largest is None or largest[k].kept == 0:  # rank 0: nothing to be cut
            yield row
            continue
        size = row.detach().abs()
        yield torch.mul(row, torch.le(size, largest[k].value, out=size), out=own(row))
