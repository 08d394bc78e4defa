"""DARE before TIES: drop entries of the task vectors at random, then trim, elect and average what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core.direct import DisjointMerge
from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.before import straight
from ligate.ops.drop import drop_stats, dropping, gains_after
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

    def terms(
        models: int, *, gain: Sequence[float] | None = None, threshold: Sequence[Kth] | None = None
    ) -> tuple[Sequence[float], Sequence[float]]:
        weights = per_model(params["weight"], models, name="weight")
        return bounds(threshold, models), gains_after(params, weights, gain)

    stats, before = [*drop_stats(params)], dropping(params)
    if trims(params["trim"]):
        stats.append(kth_largest("threshold", scope, params["trim"], group=same, before=before))
    if params["tie"] == "majority":
        stats.append(majority_sign(scope, terms, same, before))
    return tuple(stats)


def _rule(known: Mapping[str, Any], models: int) -> DisjointMerge:
    """Of parameters and statistics."""
    weights = per_model(known["weight"], models, name="weight")
    return disjoint_rule(
        thresholds=known.get("threshold"),
        gains=gains_after(known, weights, known.get("gain")),
        weights=weights,
        tie=known["tie"],
        majority=known.get("majority"),
        normalize=known["normalize"],
        scale=known["scale"],
    )


@method(
    title="DARE, TIES",
    source="arXiv:2311.03099",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("gain", "threshold", "majority"),
    direct=straight(dropping, _rule),
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
        "density": density, "trim": trim, "weight": weight, "scale": scale, "normalize": normalize,
        "scope": scope, "tie": tie, "rescale": rescale,
    }  # fmt: skip
    per_model(weight, len(tuned), name="weight")
    per_model(trim, len(tuned), name="trim")
    given = {"gain": gain, "threshold": threshold, "majority": majority}
    known = {**params, **complete(_stats(params), base, tuned, site, given)}
    return disjoint_merge(base, dropping(params).of(base, tuned, site=site), _rule(known, len(tuned)))
