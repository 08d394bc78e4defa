"""Sign election among task vectors: the sign of the larger mass wins at each coordinate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ligate.core import direct, kernels
from ligate.core.method import Scope, Site, Stat

from .before import UNCHANGED, Before

if TYPE_CHECKING:
    from torch import Tensor

    from .order import Kth

Tie = Literal["majority", "positive", "zero"]
"""What a sum of exactly zero elects: the sign that most coordinates elect, the positive sign, or neither."""

Terms = Callable[..., tuple[Sequence[float], Sequence[float]]]
"""(models, **earlier) -> per model: the smallest magnitude that counts, and what the rest is multiplied with."""

_NOTHING = 1e-6  # a divisor smaller than this share of all weights is a zero that rounding has spoiled


def disjoint_rule(
    *,
    thresholds: Sequence[Kth] | None,
    gains: Sequence[float],
    weights: Sequence[float],
    tie: Tie,
    majority: float | None,
    normalize: bool,
    scale: float,
) -> direct.DisjointMerge:
    """Base plus scale times what the task vectors of the elected sign add up to, divided by their weights if so."""
    least = _least_divisor(weights) if normalize else 0.0
    return direct.DisjointMerge(
        bounds(thresholds, len(weights)), gains, weights, _sign_of_zero(tie, majority), least, scale
    )


def disjoint_merge(base: Tensor, rows: Tensor, rule: direct.DisjointMerge, *, models: bool = True) -> Tensor:
    """The rule on tensors of any shape. With `models` the rows are models, else their differences from the base."""
    merged = kernels.disjoint_merge(
        base.reshape(-1),
        rows.reshape(len(rows), -1),
        rule.bounds,
        rule.gains,
        rule.weights,
        models=models,
        tie=rule.tie,
        least=rule.least,
        scale=rule.scale,
    )
    return merged.view(base.shape)


def bounds(thresholds: Sequence[Kth] | None, models: int) -> Sequence[float]:
    """The smallest magnitude kept of each model."""
    return [kth.value for kth in thresholds] if thresholds else [0.0] * models


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


def majority_sign(scope: Scope, terms: Terms, group: Hashable, before: Before = UNCHANGED) -> Stat:
    """How many more coordinates elect + than elect -, by the differences of what `before` makes of the models."""

    def observe(state: int, base: Tensor, tuned: Tensor, *, site: Site, **earlier: Any) -> int:
        models = before.of(base, tuned, site=site, **earlier)
        return state + kernels.lead_of_plus(base, models, *terms(len(tuned), **earlier), models=True)

    def straight(state: int, stored: direct.Stored, *, site: Site, **earlier: Any) -> int:
        if before.stored:
            before.stored(stored, **earlier)
        return state + direct.lead_of_plus(stored, *terms(len(stored.rows), **earlier))

    return Stat(
        "majority",
        scope,
        lambda models: 0,
        observe,
        lambda a, b: a + b,
        int,
        _told,
        group=group,
        direct=straight if before.stored else None,
    )


def _told(lead: int) -> Mapping[str, Any]:
    return {"lead_of_plus": lead}
