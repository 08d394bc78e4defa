"""Weighted average of models, also known as a model soup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ligate.core import kernels
from ligate.core.direct import WeightedSum
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.rows import check_weights, per_model, total_weight

if TYPE_CHECKING:
    from torch import Tensor


def _rule(params: Mapping[str, Any], models: int) -> WeightedSum:
    """Shares of the weights would be rounded; one division keeps the mean of equal numbers exact."""
    weights = per_model(params["weight"], models, name="weight")
    return WeightedSum(weights, total_weight(weights, normalize=params["normalize"]))


@method(
    title="Linear",
    source="arXiv:2203.05482",
    base="unused",
    symmetric=True,
    check=check_weights,
    direct=_rule,
)
def linear(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    normalize: bool = True,
) -> Tensor:
    r"""Average the models, each with its weight.

    .. math::
        \theta = \sum_k w_k \theta_k \Big/ \sum_k w_k

    with :math:`w_k` = ``weight``; without the divisor if ``normalize`` is false.

    Shapes: ``base`` is not used; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: uniform soup, section 2 of arXiv:2203.05482, with weights.
    Differs: the paper's greedy soup chooses the models by held-out accuracy; here they are chosen by the caller.
        Weights need not be positive. Weights that sum to zero are an error where others divide by zero.

    Raises:
        RecipeError: the weights sum to zero and are to be normalised, or are not one per model.

    >>> import torch
    >>> linear(None, torch.tensor([[4.0, -1.0], [2.0, 3.0]]), weight=(1, 3))
    tensor([2.5000, 2.0000])
    """
    rule = _rule({"weight": weight, "normalize": normalize}, len(tuned))
    return kernels.weighted_sum(tuned.reshape(len(tuned), -1), *rule).view(tuned.shape[1:])
