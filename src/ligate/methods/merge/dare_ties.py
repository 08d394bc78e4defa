"""DARE before TIES: drop entries of the task vectors at random, then trim, elect and average what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.drop import drop_stats, gains_after, kept_rows
from ligate.ops.elect import bounds, disjoint_merge, disjoint_rule, majority_sign
from ligate.ops.notebook import complete
from ligate.ops.order import Kth, kth_largest
from ligate.ops.rows import per_model, same_shape
from ligate.ops.trim import trims

if TYPE_CHECKING:
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The drop's norms, the thresholds of what survived it, the majority for ties."""
    scope, same = params["scope"], tuple(str(params[name]) for name in ("density", "trim", "rescale"))

    def survivors(base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Iterable[Tensor]:
        return kept_rows(params, base, tuned, site=site)

    def table(base: Tensor, tuned: Tensor, *, site: Site) -> Tensor:
        return _survivors(params, base, tuned, site)

    def terms(
        models: int, *, gain: Sequence[float] | None = None, threshold: Sequence[Kth] | None = None
    ) -> tuple[Sequence[float], Sequence[float]]:
        weights = per_model(params["weight"], models, name="weight")
        return bounds(threshold, models), gains_after(params, weights, gain)

    stats = [*drop_stats(params)]
    if trims(params["trim"]):
        stats.append(kth_largest("threshold", scope, params["trim"], survivors, group=same))
    if params["tie"] == "majority":
        stats.append(majority_sign(scope, terms, same, table))
    return tuple(stats)


def _survivors(params: Mapping[str, Any], base: Tensor, tuned: Tensor, site: Site | None) -> Tensor:
    """What the drop leaves of each task vector, [K, *S]."""
    return torch.stack([row.clone() for row in kept_rows(params, base, tuned, site=site)])


@method(
    title="DARE, TIES",
    source="arXiv:2311.03099",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("gain", "threshold", "majority"),
)
def dare_ties(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    gain: Sequence[float] | None = None,
    threshold: Sequence[Kth] | None = None,
    majority: float | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.9,
    trim: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.2,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    normalize: bool = True,
    scope: Literal["model", "tensor"] = "model",
    tie: Literal["majority", "positive", "zero"] = "majority",
    rescale: Literal["inverse_prob", "l1", "none"] = "inverse_prob",
) -> Tensor:
    r"""Drop entries of each task vector at random, scale up the rest, then TIES: trim, elect signs, average.

    .. math::
        \tilde\tau_k = \frac{m_k \odot (\theta_k - \theta_0)}{d_k}, \quad m_k \sim \mathrm{Bernoulli}(d_k), \quad
        \theta = \mathrm{TIES}(\theta_0;\, \theta_0 + \tilde\tau_1, \dots, \theta_0 + \tilde\tau_K)

    ``density`` is the share that survives the drop, ``trim`` the share of all entries (dropped ones count as zeros)
    that TIES keeps; ``weight``, ``scale``, ``normalize``, ``scope`` and ``tie`` are those of merge/ties, drop and
    ``rescale`` those of merge/dare_linear.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2311.03099 with arXiv:2306.01708; defaults of the official code (drop 0.1, trim 0.8).
    Differs: mergekit's method of this name does not trim and does not divide; ``trim: 1``, ``normalize: false``,
        ``tie: positive``, ``rescale: l1`` is its meaning. See merge/ties and merge/dare_linear for the rest.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: no ``site`` to draw from; not one value per model.

    >>> import torch
    >>> from ligate.ops.notebook import site
    >>> place = site("w", (6,), ["math"], seed=2)  # its noise lets the last three entries survive
    >>> dare_ties(torch.zeros(6), torch.tensor([[1.0, 2, 3, 4, 5, 6]]), site=place, density=0.5, trim=0.4)
    tensor([ 0.,  0.,  0.,  0., 10., 12.])
    """
    same_shape(base, tuned, where="merge/dare_ties")
    params = {
        "density": density, "trim": trim, "weight": weight, "scope": scope, "tie": tie, "rescale": rescale
    }  # fmt: skip
    weights = per_model(weight, len(tuned), name="weight")
    per_model(trim, len(tuned), name="trim")
    given = {"gain": gain, "threshold": threshold, "majority": majority}
    known = complete(_stats(params), base, tuned, site, given)
    rule = disjoint_rule(
        thresholds=known["threshold"],
        gains=gains_after(params, weights, known["gain"]),
        weights=weights,
        tie=tie,
        majority=known["majority"],
        normalize=normalize,
        scale=scale,
    )
    return disjoint_merge(base, _survivors(params, base, tuned, site), rule, models=False)
