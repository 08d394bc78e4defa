"""Sign election among task vectors: which sign wins at each coordinate, and what the models of that sign add up to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ligate.core.method import Scope, Site, Stat

from .rows import own, times, wants_gradient, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

Tie = Literal["majority", "positive", "zero"]
"""What a sum of exactly zero elects: the sign that most coordinates elect, the positive sign, or neither."""

Votes = Callable[..., tuple[Iterable["Tensor"], Sequence[float]]]
"""(base, tuned, site=, **earlier) -> one row per model, and what each is multiplied with before the vote."""

_NOTHING = 1e-6  # a divisor smaller than this share of all weights is a zero that rounding has spoiled


def elected(total: Tensor, tie: Tie, majority: float | None) -> Tensor:
    """Sign of the mass at each coordinate, +1 or -1 (or 0 for a tie that nobody decides). Overwrites `total`."""
    mass = total.detach()
    if tie == "zero":
        return mass.sign_()
    positive = tie == "positive" or (majority or 0) > 0
    side = mass.ge_(0) if positive else mass.gt_(0)
    return side.mul_(2).sub_(1)


def disjoint(
    rows: Sequence[Tensor], gains: Sequence[float], weights: Sequence[float], signs: Tensor, *, normalize: bool
) -> Tensor:
    """Sum of gain times row over the models whose gain times row has the elected sign, per coordinate.

    With `normalize` divided by the sum of these models' weights (by 1 where that is 0). Overwrites the rows.
    """
    total = torch.zeros_like(signs)
    voters = torch.zeros_like(signs)
    for row, gain, weight in zip(rows, gains, weights, strict=True):
        if gain == 0:
            continue
        part = torch.mul(row, signs, out=own(row))
        part = part.clamp_min_(0) if gain > 0 else part.clamp_max_(0)
        total.add_(times(part, gain))
        if normalize:
            voter = part.sign() if wants_gradient(part) else part.sign_()
            voters.add_(times(voter.detach(), abs(weight)))
    total.mul_(signs)
    return total.div_(_divisor(voters, weights)) if normalize else total


def _divisor(voters: Tensor, weights: Sequence[float]) -> Tensor:
    """Where nobody voted, or negative weights cancel the others, 1: the total stays as it is."""
    used = [weight for weight in weights if weight != 0] or [1.0]
    if min(used) > 0:
        return voters.clamp_min_(min(used))  # nobody: the total is 0, whatever it is divided by
    return voters.masked_fill_(voters.abs() <= _NOTHING * sum(map(abs, used)), 1.0)


def majority_sign(
    scope: Scope, votes: Callable[..., tuple[Iterable[Tensor], Sequence[float]]], group: Hashable
) -> Stat:
    """How many more coordinates elect + than elect -."""

    def observe(state: int, base: Tensor | None, tuned: Tensor, *, site: Site, **earlier: Any) -> int:
        rows, gains = votes(base, tuned, site=site, **earlier)
        mass = weighted_sum(rows, gains).numpy(force=True)
        return state + int(np.count_nonzero(mass > 0)) - int(np.count_nonzero(mass < 0))

    return Stat("majority", scope, lambda models: 0, observe, lambda a, b: a + b, int, _told, group=group)


def _told(lead: int) -> Mapping[str, Any]:
    return {"lead_of_plus": lead}
