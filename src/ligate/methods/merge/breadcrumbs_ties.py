"""Model Breadcrumbs before an election of signs: leave out both tails, add the changes that have the elected sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core.direct import DisjointMerge
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.before import straight
from ligate.ops.elect import disjoint_merge, disjoint_rule
from ligate.ops.fitting import gained, with_base
from ligate.ops.middle import MIDDLE, middle_stats
from ligate.ops.notebook import complete
from ligate.ops.rows import per_model

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.ops.order import Kth


def _rule(known: Mapping[str, Any], models: int) -> DisjointMerge:
    """Of parameters and statistics."""
    weights = per_model(known["weight"], models, name="weight")
    return disjoint_rule(
        thresholds=None,
        gains=gained(weights, known.get("gain")),
        weights=weights,
        tie=known["tie"],
        majority=None,
        normalize=known["normalize"],
        scale=known["scale"],
    )


@method(
    title="Breadcrumbs, TIES",
    source="arXiv:2312.06795",
    base="required",
    symmetric=True,
    stats=middle_stats,
    stat_names=("largest", "threshold", "gain"),
    direct=straight(lambda known: MIDDLE, _rule),
)
def breadcrumbs_ties(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    largest: Sequence[Kth] | None = None,
    threshold: Sequence[Kth] | None = None,
    gain: Sequence[float] | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.1,
    gamma: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.01,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    normalize: bool = False,
    tie: Literal["positive", "zero"] = "positive",
    rescale: Literal["none", "l1"] = "none",
) -> Tensor:
    r"""Keep the middle of each task vector, elect a sign per coordinate, add the entries that have it.

    .. math::
        \hat\tau_k = \tau_k\,[\,l_k \le |\tau_k| \le u_k\,], \quad \gamma = \operatorname{sgn}\sum_k w_k \hat\tau_k, \\
        \theta = \theta_0 + \lambda \sum_k w_k \hat\tau_k\,[\operatorname{sgn}(w_k \hat\tau_k) = \gamma]

    with the bounds of merge/breadcrumbs, from ``density`` and ``gamma``, and its ``rescale``; :math:`w_k` = ``weight``,
    :math:`\lambda` = ``scale``. With ``normalize`` the sum is divided by the weights of the entries in it. A sum of
    zero elects the positive sign, or with ``tie: zero`` neither.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2312.06795 with the election of arXiv:2306.01708; mergekit put them together.
    Differs: the defaults of ``density`` and ``gamma`` are those of merge/breadcrumbs, not mergekit's (1 and 0.01).

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: not one value per model.

    >>> import torch
    >>> tuned = torch.tensor([[1.0, -2, 3, -4, 5], [-5, -4, 3, 2, 1]])
    >>> breadcrumbs_ties(torch.zeros(5), tuned, density=0.6, gamma=0.2)  # [., -2, 3, -4, .] and [., -4, 3, 2, .]
    tensor([ 0., -6.,  6., -4.,  0.])
    """
    with_base(base, tuned, where="merge/breadcrumbs_ties")
    params = {
        "density": density, "gamma": gamma, "weight": weight, "scale": scale, "normalize": normalize,
        "tie": tie, "rescale": rescale,
    }  # fmt: skip
    per_model(density, len(tuned), name="density")
    per_model(gamma, len(tuned), name="gamma")
    given = {"largest": largest, "threshold": threshold, "gain": gain}
    known = {**params, **complete(middle_stats(params), base, tuned, site, given)}
    return disjoint_merge(base, MIDDLE.of(base, tuned, **known), _rule(known, len(tuned)))
