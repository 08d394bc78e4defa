"""Model Stock: the mean of a few fine-tuned models, drawn towards the base as far as their angles tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.gram import NO_LENGTH, coefficient_stat, combination, combined, lengths_of
from ligate.ops.notebook import complete

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_SINGULAR = 1e-6  # a smaller divisor gives no estimate


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    def coefficients(gram: NDArray[Any]) -> NDArray[Any]:
        cosine = _mean_cosine(gram, params["least_product"])
        if params["negative_cosine"] == "base":
            cosine = np.maximum(cosine, 0.0)
        models = gram.shape[1]
        divisor = 1 + (models - 1) * cosine
        usable = np.abs(divisor) >= _SINGULAR
        share = np.where(usable, cosine / np.where(usable, divisor, 1.0), 0.0)
        return np.tile(share, (models, 1))

    return (coefficient_stat("coefficients", params["along"], coefficients),)


def _mean_cosine(gram: NDArray[Any], least: float) -> NDArray[Any]:
    """Mean over the pairs of task vectors, [vectors]; the cosine beside a zero is 0."""
    lengths = lengths_of(gram)
    i, j = np.triu_indices(gram.shape[1], 1)
    product = np.maximum(lengths[:, i] * lengths[:, j], max(least, NO_LENGTH**2))
    return np.clip(gram[:, i, j] / product, -1.0, 1.0).mean(axis=1)


@method(
    title="Model Stock",
    source="arXiv:2403.19522",
    base="required",
    models=(2, None),
    symmetric=True,
    stats=_stats,
    stat_names=("coefficients",),
    direct=combination,
)
def model_stock(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    coefficients: NDArray[Any] | None = None,
    along: Literal["tensor", "rows"] = "tensor",
    negative_cosine: Literal["base", "extrapolate"] = "base",
    least_product: Annotated[float, Range(0)] = 0.0,
) -> Tensor:
    r"""Interpolate between the base and the mean of the models; the more alike their changes, the nearer to the mean.

    .. math::
        \theta = t\,\frac{1}{K} \sum_k \theta_k + (1 - t)\,\theta_0, \quad
        t = \frac{K \cos\omega}{1 + (K - 1) \cos\omega}

    with :math:`\cos\omega` the mean, over all pairs of models, of the cosine between their task vectors in this tensor
    (or in each row, the last axis: ``along``). The result is the point of the plane through the models that is nearest
    to where fine-tuning would lead on average; it presumes runs of one task that differ in their seeds. A cosine below
    zero contradicts that; it gives the base (``negative_cosine: extrapolate`` goes behind the base as the equation
    says). ``least_product`` is the least that a dot product is divided by for a cosine.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, at least 2, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2403.19522, equations for two and for more fine-tuned models; its layers are taken as tensors.
    Differs: the paper has one angle for all pairs; here it is the mean of their cosines. No official code was
        published. mergekit's meaning is ``negative_cosine: extrapolate``, ``least_product: 1e-6``, which draws
        tensors with short task vectors towards the base; ``along: rows`` is its filter-wise option.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: there is only one model.

    >>> import torch
    >>> model_stock(torch.zeros(2), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))  # 45 degrees: t = 2 sqrt(2) - 2
    tensor([0.8284, 0.4142])
    """
    with_base(base, tuned, where="merge/model_stock", fewest=2)
    params = {"along": along, "negative_cosine": negative_cosine, "least_product": least_product}
    known = complete(_stats(params), base, tuned, site, {"coefficients": coefficients})
    return combined(base, tuned, known["coefficients"], along, site)
