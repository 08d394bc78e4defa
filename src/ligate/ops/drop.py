"""The drop of DARE as a step before others: which entries survive, and what the survivors are multiplied with.

The steps take `params` with "density" (how many survive, per model) and "rescale", as a recipe gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ligate.core.direct import Stored
from ligate.core.draw import NOISE_BITS, limit
from ligate.core.method import Site, Stat

from .before import Before
from .norms import l1_gain
from .notebook import no_noise
from .rows import per_model

if TYPE_CHECKING:
    from torch import Tensor


def dropping(params: Mapping[str, Any]) -> Before:
    """Each model with the base at the dropped entries, nothing scaled up; the same entries in every pass."""

    def tensors(base: Tensor, tuned: Tensor, *, site: Site | None, **_: Any) -> Tensor:
        keep = per_model(params["density"], len(tuned), name="density")
        return torch.stack(list(_survivors(base, tuned, keep, site)))

    def stored(rows: Stored, **_: Any) -> None:
        for row, share in enumerate(per_model(params["density"], len(rows.rows), name="density")):
            if share < 1:
                rows.drop(row, share)

    return Before(tensors, stored)


def _survivors(base: Tensor, tuned: Tensor, keep: Sequence[float], site: Site | None) -> Iterator[Tensor]:
    for k, (model, share) in enumerate(zip(tuned, keep, strict=True)):
        if share >= 1:
            yield model
            continue
        if site is None:
            raise no_noise()
        yield torch.where(site.noise(k, 0) < limit(share) / (1 << NOISE_BITS), model, base)


def drop_stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The measurement that `rescale: l1` needs, per tensor."""
    return (l1_gain("tensor", dropping(params)),) if params["rescale"] == "l1" else ()


def gains_after(params: Mapping[str, Any], weights: Sequence[float], gain: Sequence[float] | None) -> Sequence[float]:
    """What each difference is multiplied with: its weight times what makes up for the drop."""
    if params["rescale"] == "inverse_prob":
        keep = per_model(params["density"], len(weights), name="density")
        gain = [1 / share if share > 0 else 0.0 for share in keep]
    return [weight * factor for weight, factor in zip(weights, gain or [1.0] * len(weights), strict=True)]
