"""Mean direction times mean length of several models: what mergekit's Multi-SLERP comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.fitting import with_base
from ligate.ops.gram import coefficient_stat, combination, combined, cosines_of, length_of_sum, lengths_of
from ligate.ops.notebook import complete
from ligate.ops.rows import check_weights, per_model, total_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    def coefficients(gram: NDArray[Any]) -> NDArray[Any]:
        weights = per_model(params["weight"], gram.shape[1], name="weight")
        shares = np.array(weights) / total_weight(weights, normalize=params["normalize"])
        return _mean(gram, shares)[:, None]

    return (coefficient_stat("coefficients", "tensor", coefficients),)


def _mean(gram: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
    """Coefficients of the models from their dot products [1, K, K]."""
    lengths = lengths_of(gram)[0]
    whole = length_of_sum(cosines_of(gram)[0], shares)
    if not whole:
        return shares
    factor = float(shares @ lengths) / whole
    return factor * np.divide(shares, lengths, out=np.zeros_like(lengths), where=lengths > 0)


@method(
    title="Multi-SLERP",
    source="https://github.com/arcee-ai/mergekit",
    base="optional",
    symmetric=True,
    stats=_stats,
    stat_names=("coefficients",),
    direct=combination,
    check=check_weights,
)
def multislerp(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    coefficients: NDArray[Any] | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    normalize: bool = True,
) -> Tensor:
    r"""Take the mean direction of the models and the mean of their lengths; with a base, of their changes of it.

    .. math::
        m = \frac{\sum_k w_k u_k}{|\sum_k w_k u_k|}, \quad u_k = \frac{\tau_k}{|\tau_k|}, \quad
        \theta = \theta_0 + m \sum_k w_k |\tau_k|

    with :math:`\tau_k = \theta_k - \theta_0` (without a base :math:`\theta_0 = 0`) for the flattened tensor and
    :math:`w_k` = ``weight``, divided by their sum if ``normalize``. A change of zero has no direction. Where the
    directions cancel out the weighted sum of the changes takes their place.

    Shapes: ``base`` [*S] or None; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: a rule of mergekit; no paper defines it.
    Differs: mergekit goes on to interpolate in the space that touches the sphere at :math:`m`. That step adds nothing:
        what it sums is :math:`\sum_k w_k (u_k - \langle u_k, m\rangle\, m)`, and this is zero because m is parallel to
        :math:`\sum_k w_k u_k`. So for two models of unlike weights this is no SLERP; merge/karcher is, for any number.
        Where three directions or more cancel out mergekit stops with an error.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: the weights sum to zero and are to be normalised, or are not one per model.

    >>> import torch
    >>> multislerp(None, torch.tensor([[3.0, 0.0], [0.0, 1.0]]), weight=(0.75, 0.25))
    tensor([2.3717, 0.7906])
    """
    if base is not None:
        with_base(base, tuned, where="merge/multislerp")
    params = {"weight": weight, "normalize": normalize}
    known = complete(_stats(params), base, tuned, site, {"coefficients": coefficients})
    return combined(base, tuned, known["coefficients"], "tensor", site)
