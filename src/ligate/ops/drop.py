"""The drop of DARE as a step before others: which entries survive, and what the survivors are multiplied with.

The steps take `params` with "density" (how many survive, per model) and "rescale", as a recipe gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ligate.core.method import Site, Stat

from .norms import l1_gain
from .notebook import no_noise
from .rows import deltas, own, per_model

if TYPE_CHECKING:
    from torch import Tensor


def kept_rows(params: Mapping[str, Any], base: Tensor, tuned: Tensor, *, site: Site | None) -> Iterator[Tensor]:
    """Task vectors with the dropped entries set to zero, not yet scaled up; the same entries in every pass."""
    keep = per_model(params["density"], len(tuned), name="density")
    for k, row in enumerate(deltas(base, tuned)):
        yield row if keep[k] >= 1 else torch.mul(row, _survivors(site, k, keep[k]), out=own(row))


def _survivors(site: Site | None, model: int, share: float) -> Tensor:
    """1 where an entry survives, else 0. Floats: a product with them is ten times faster than with booleans."""
    if site is None:
        raise no_noise()
    noise = site.noise(model, 0)
    return torch.lt(noise, share, out=torch.empty_like(noise))


def drop_stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The measurement that `rescale: l1` needs, per tensor."""
    if params["rescale"] != "l1":
        return ()

    def before(base: Tensor, tuned: Tensor, **_: Any) -> Iterator[Tensor]:
        return deltas(base, tuned)

    def after(base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Iterator[Tensor]:
        return kept_rows(params, base, tuned, site=site)

    return (l1_gain("tensor", before, after),)


def gains_after(params: Mapping[str, Any], weights: Sequence[float], gain: Sequence[float] | None) -> Sequence[float]:
    """What each row of `kept_rows` is multiplied with: its weight times what makes up for the drop."""
    if params["rescale"] == "inverse_prob":
        keep = per_model(params["density"], len(weights), name="density")
        gain = [1 / share if share > 0 else 0.0 for share in keep]
    return [weight * factor for weight, factor in zip(weights, gain or [1.0] * len(weights), strict=True)]
