"""The drop of DELLA: small entries of a row are dropped more often than large ones.

The steps take `params` with "density", "epsilon" (both per model) and "rescale", as a recipe gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ligate.core.errors import RecipeError
from ligate.core.method import Site, Stat

from .before import Before
from .norms import l1_gain
from .notebook import no_noise
from .rows import deltas, per_model

if TYPE_CHECKING:
    from torch import Tensor


def check_chances(params: Mapping[str, Any]) -> None:
    """A card's check: every probability lies between 0 and 1."""
    several = (params[name] for name in ("density", "epsilon") if not isinstance(params[name], (int, float)))
    ranges(params, len(next(several, (1,))))


def ranges(params: Mapping[str, Any], models: int) -> Sequence[tuple[float, float]]:
    """Density and epsilon of each model."""
    density = per_model(params["density"], models, name="density")
    epsilon = per_model(params["epsilon"], models, name="epsilon")
    for share, spread in zip(density, epsilon, strict=True):
        if 0 < share < 1 and not (spread < share < 1 - spread):
            raise RecipeError(
                f"`density` {share:g} with `epsilon` {spread:g} gives probabilities from {share - spread:g} "
                f"to {share + spread:g}",
                hint="choose `epsilon` smaller than `density` and than 1 - `density`.",
            )
    return list(zip(density, epsilon, strict=True))


def kept_rows(params: Mapping[str, Any], base: Tensor, tuned: Tensor, *, site: Site | None) -> Iterator[Tensor]:
    """Task vectors with the dropped entries set to zero; the same entries in every pass.

    With `rescale: inverse_prob` each survivor is divided by its own probability, in float64.
    """
    width = _width(base, site)
    for k, (row, (density, epsilon)) in enumerate(zip(deltas(base, tuned), ranges(params, len(tuned)), strict=True)):
        if not 0 < density < 1:
            yield row * float(density > 0)
            continue
        if site is None:
            raise no_noise()
        chance = _chances(row, width, density, epsilon)
        survives = torch.lt(site.noise(k, 0), chance).double()
        yield row.double() * (survives / chance if params["rescale"] == "inverse_prob" else survives)


def drop_stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The measurement that `rescale: l1` needs, per tensor."""
    if params["rescale"] != "l1":
        return ()

    def survivors(base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Tensor:
        kept = kept_rows(params, base, tuned, site=site)
        return torch.stack([torch.where(row != 0, model, base) for row, model in zip(kept, tuned, strict=True)])

    return (l1_gain("tensor", Before(survivors)),)


def _width(base: Tensor, site: Site | None) -> int:
    shape = site.shape if site else tuple(base.shape)
    return shape[-1] if shape else 1


def _chances(row: Tensor, width: int, density: float, epsilon: float) -> Tensor:
    """Probability of each entry: density - epsilon for the smallest of its row, density + epsilon for the largest."""
    size = row.detach().abs().reshape(-1, width)
    if width == 1:
        return torch.full_like(row, density, dtype=torch.float64)
    steps = torch.linspace(density - epsilon, density + epsilon, width, dtype=torch.float64)
    order = _ascending(size)
    return torch.empty_like(size, dtype=torch.float64).scatter_(1, order, steps.expand_as(order)).view(row.shape)


def _ascending(size: Tensor) -> Tensor:
    """Where the entries of each row [R, C] stand in ascending order; equal ones in their own order."""
    if size.dtype != torch.float32 or size.device.type != "cpu":
        return torch.argsort(size, dim=1, stable=True)
    keys = size.numpy().view(np.int32).astype(np.int64)  # bits of non-negative floats order as the floats do
    keys <<= 32
    keys |= np.arange(size.shape[1])
    keys.sort(axis=1)  # ten times as fast as a stable argsort
    keys &= (1 << 32) - 1
    return torch.from_numpy(keys)
