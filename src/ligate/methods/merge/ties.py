"""TIES: trim small changes, elect a sign for each parameter, average the changes that have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core.direct import DisjointMerge
from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.elect import bounds, disjoint_merge, disjoint_rule, majority_sign
from ligate.ops.norms import l1_gain
from ligate.ops.notebook import complete
from ligate.ops.order import Kth, kth_largest
from ligate.ops.rows import per_model, same_shape
from ligate.ops.trim import TRIMMED, trims

if TYPE_CHECKING:
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """Thresholds unless all is kept; what the trim took, if that is to be made up for; the majority for ties."""
    scope, density = params["scope"], params["density"]
    same = (str(density), params["rescale"])  # weights may differ by tensor: the trim does not depend on them
    stats: list[Stat] = []
    if trims(density):
        stats.append(kth_largest("threshold", scope, density, group=same))
    if trims(density) and params["rescale"] == "l1":
        stats.append(l1_gain(scope, TRIMMED, group=same))
    if params["tie"] == "majority":
        stats.append(majority_sign(scope, _terms(params["weight"]), group=same))
    return tuple(stats)


def _terms(weight: float | Sequence[float]) -> Any:
    """The bound and the gain of each model in the election, once both are measured."""

    def terms(
        models: int, *, threshold: Sequence[Kth] | None = None, gain: Sequence[float] | None = None
    ) -> tuple[Sequence[float], Sequence[float]]:
        return bounds(threshold, models), _gains(per_model(weight, models, name="weight"), gain)

    return terms


def _gains(weights: Sequence[float], gain: Sequence[float] | None) -> Sequence[float]:
    return weights if gain is None else [w * g for w, g in zip(weights, gain, strict=True)]


def _rule(known: Mapping[str, Any], models: int) -> DisjointMerge:
    """Of parameters and statistics."""
    weights = per_model(known["weight"], models, name="weight")
    return disjoint_rule(
        thresholds=known.get("threshold"),
        gains=_gains(weights, known.get("gain")),
        weights=weights,
        tie=known["tie"],
        majority=known.get("majority"),
        normalize=known["normalize"],
        scale=known["scale"],
    )


@method(
    title="TIES",
    source="arXiv:2306.01708",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("threshold", "gain", "majority"),
    direct=_rule,
)
def ties(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    threshold: Sequence[Kth] | None = None,
    gain: Sequence[float] | None = None,
    majority: float | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.2,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    normalize: bool = True,
    scope: Literal["model", "tensor"] = "model",
    tie: Literal["majority", "positive", "zero"] = "majority",
    rescale: Literal["none", "l1"] = "none",
) -> Tensor:
    r"""Trim each task vector to its largest entries, elect a sign per coordinate, average the entries that have it.

    .. math::
        \hat\tau_k = \tau_k\,[\,|\tau_k| \ge \text{the } \lfloor d_k N\rfloor\text{-th largest}\,], \quad
        \gamma = \operatorname{sgn}\sum_k w_k \hat\tau_k, \\
        \theta = \theta_0 + \lambda\,\frac{\sum_k w_k \hat\tau_k\,[\operatorname{sgn}(w_k \hat\tau_k) = \gamma]}
                                          {\sum_k w_k\,[\operatorname{sgn}(w_k \hat\tau_k) = \gamma]}

    with :math:`\tau_k = \theta_k - \theta_0`, :math:`d_k` = ``density``, :math:`w_k` = ``weight``, :math:`\lambda` =
    ``scale``. N counts the entries of the whole model (of all tensors with this density, where it differs) or of one
    tensor (``scope``); at least one entry is kept unless the density is 0, and so is every entry as large as the last
    one kept. Without ``normalize`` there is no divisor.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2306.01708 and its official code; weights per model are an addition.
    Differs: the official code keeps one entry more (its k-th value is off by one) and cannot keep all. Where the sum
        is zero, ``tie: majority`` does as the official code: the sign that more coordinates elect, negative if none
        (this costs a pass over the inputs); ``positive`` is mergekit's choice, ``zero`` leaves the base as it is.
        mergekit trims each tensor by itself (``scope: tensor``). ``rescale: l1`` restores each task vector's L1 norm
        after the trim, which is mergekit's option. ``normalize: false`` is the disjoint sum of later papers.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: densities or weights are not one per model.

    >>> import torch
    >>> tuned = torch.tensor([[4.0, -1.0, 2.0, 0.5], [2.0, 3.0, -1.0, 0.5], [-1.0, 2.0, 4.0, -0.5]])
    >>> ties(torch.zeros(4), tuned, density=0.5)
    tensor([3.0000, 2.5000, 3.0000, 0.0000])
    """
    same_shape(base, tuned, where="merge/ties")
    params = {
        "density": density, "weight": weight, "scale": scale, "normalize": normalize,
        "scope": scope, "tie": tie, "rescale": rescale,
    }  # fmt: skip
    per_model(weight, len(tuned), name="weight")
    per_model(density, len(tuned), name="density")
    given = {"threshold": threshold, "gain": gain, "majority": majority}
    known = complete(_stats(params), base, tuned, site, given)
    return disjoint_merge(base, tuned, _rule({**params, **known}, len(tuned)))
