"""Sign election among task vectors: the sign of the larger mass wins at each coordinate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ligate.core import kernels
from ligate.core.method import Scope, Site, Stat

from .rows import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from .order import Kth

Tie = Literal["majority", "positive", "zero"]
"""What a sum of exactly zero elects: the sign that most coordinates elect, the positive sign, or neither."""

Votes = Callable[..., tuple[Iterable["Tensor"], Sequence[float]]]
"""(base, tuned, site=, **earlier) -> one row per model, and what each is multiplied with before the vote."""

_NOTHING = 1e-6  # a divisor smaller than this share of all weights is a zero that rounding has spoiled


def disjoint_merge(
    base: Tensor,
    rows: Tensor,
    *,
    thresholds: Sequence[Kth] | None,
    gains: Sequence[float],
    weights: Sequence[float],
    tie: Tie,
    majority: float | None,
    normalize: bool,
    scale: float,
    models: bool = True,
) -> Tensor:
    """Base plus scale times what the rows of the elected sign add up to, divided by their weights if `normalize`.

    With `models` the rows are models, else their differences from the base.
    """
    merged = kernels.disjoint_merge(
        base.reshape(-1),
        rows.reshape(len(rows), -1),
        [kth.value for kth in thresholds] if thresholds else [0.0] * len(rows),
        gains,
        weights,
        models=models,
        tie=_sign_of_zero(tie, majority),
        least=_least_divisor(weights) if normalize else 0.0,
        scale=scale,
    )
    return merged.view(base.shape)


def _sign_of_zero(tie: Tie, majority: float | None) -> int:
    if tie == "majority":
        return 1 if (majority or 0) > 0 else -1
    return 1 if tie == "positive" else 0


def _least_divisor(weights: Sequence[float]) -> float:
    """The smallest sum of weights there can be; negative: one that negative weights have made zero up to rounding."""
    used = [weight for weight in weights if weight != 0]
    if not used:
        return 1.0
    return min(used) if min(used) > 0 else -_NOTHING * sum(map(abs, used))


def majority_sign(scope: Scope, votes: Votes, group: Hashable) -> Stat:
    """How many more coordinates elect + than elect -."""

    def observe(state: int, base: Tensor | None, tuned: Tensor, *, site: Site, **earlier: Any) -> int:
        rows, gains = votes(base, tuned, site=site, **earlier)
        mass = weighted_sum(rows, gains).numpy(force=True)
        return state + int(np.count_nonzero(mass > 0)) - int(np.count_nonzero(mass < 0))

    return Stat("majority", scope, lambda models: 0, observe, lambda a, b: a + b, int, _told, group=group)


def _told(lead: int) -> Mapping[str, Any]:
    return {"lead_of_plus": lead}
