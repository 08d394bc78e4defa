"""Model Breadcrumbs: leave out the largest and the smallest changes, add the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core.direct import AddWeighted
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.before import straight
from ligate.ops.fitting import gained, with_base
from ligate.ops.middle import MIDDLE, middle_stats
from ligate.ops.notebook import complete
from ligate.ops.rows import add_weighted, check_weights, per_model, total_weight

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.ops.order import Kth


def _rule(known: Mapping[str, Any], models: int) -> AddWeighted:
    """Of parameters and statistics."""
    weights = per_model(known["weight"], models, name="weight")
    factor = known["scale"] / total_weight(weights, normalize=known["normalize"])
    return AddWeighted(gained(weights, known.get("gain")), factor)


@method(
    title="Breadcrumbs",
    source="arXiv:2312.06795",
    base="required",
    symmetric=True,
    stats=middle_stats,
    stat_names=("largest", "threshold", "gain"),
    check=check_weights,
    direct=straight(lambda known: MIDDLE, _rule),
)
def breadcrumbs(
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
    scale: Annotated[float, Range()] = 0.3,
    normalize: bool = False,
    rescale: Literal["none", "l1"] = "none",
) -> Tensor:
    r"""Keep the middle of each task vector: neither its outliers nor its small entries; add the weighted sum.

    .. math::
        \hat\tau_k = \tau_k\,[\,l_k \le |\tau_k| \le u_k\,], \quad \theta = \theta_0 + \lambda \sum_k w_k \hat\tau_k

    with :math:`\tau_k = \theta_k - \theta_0`; :math:`u_k` the largest magnitude after the
    :math:`\lfloor\gamma_k N\rfloor` largest of the N in this tensor, :math:`l_k` the
    :math:`\lfloor d_k N\rfloor`-th largest of what is not above :math:`u_k`; :math:`\gamma_k` = ``gamma``,
    :math:`d_k` = ``density``, :math:`w_k` = ``weight``, divided by their sum if ``normalize``, and :math:`\lambda` =
    ``scale``. Every entry as large as a bound stays. Outliers are cut only as far as the density leaves room, so at
    density 1 nothing is. Where :math:`d_k N < 1` nothing stays.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2312.06795, whose layers are taken as tensors.
    Differs: the paper names the share of small entries that is left out (β), here the density is what stays. The
        official code takes the bounds in each row (last axis), not in the layer. The defaults are of the order that
        the paper reports; it chooses them, and :math:`\lambda`, on held-out data. ``rescale: l1`` restores each task
        vector's L1 norm, which is mergekit's option. The paper has no weights per model.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: weights that sum to zero are to be normalised; not one value per model.

    >>> import torch
    >>> tuned = torch.tensor([[1.0, -2, 3, -4, 5, -6, 7, -8, 9, -10]])
    >>> breadcrumbs(torch.zeros(10), tuned, density=0.7, gamma=0.1, scale=1)
    tensor([ 0.,  0.,  3., -4.,  5., -6.,  7., -8.,  9.,  0.])
    """
    with_base(base, tuned, where="merge/breadcrumbs")
    params = {
        "density": density, "gamma": gamma, "weight": weight, "scale": scale, "normalize": normalize, "rescale": rescale
    }  # fmt: skip
    per_model(density, len(tuned), name="density")
    per_model(gamma, len(tuned), name="gamma")
    given = {"largest": largest, "threshold": threshold, "gain": gain}
    known = {**params, **complete(middle_stats(params), base, tuned, site, given)}
    return add_weighted(base, MIDDLE.of(base, tuned, **known), _rule(known, len(tuned)))
