"""Add the differences between tuned models and their base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ligate.core.direct import AddWeighted
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.rows import add_weighted, check_weights, per_model, same_shape, total_weight

if TYPE_CHECKING:
    from torch import Tensor


def _rule(params: Mapping[str, Any], models: int) -> AddWeighted:
    weights = per_model(params["weight"], models, name="weight")
    return AddWeighted(weights, params["scale"] / total_weight(weights, normalize=params["normalize"]))


@method(
    title="Task arithmetic",
    source="arXiv:2212.04089",
    base="required",
    symmetric=True,
    check=check_weights,
    direct=_rule,
)
def task_arithmetic(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 0.3,
    normalize: bool = False,
) -> Tensor:
    r"""Add the weighted sum of the task vectors to the base.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad \theta = \theta_0 + \lambda \sum_k w_k \tau_k

    with :math:`w_k` = ``weight``, divided by their sum if ``normalize``, and :math:`\lambda` = ``scale``. A negative
    weight takes a task away; :math:`\lambda w_k = 1/K` gives the plain average.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: section 2 of arXiv:2212.04089.
    Differs: the paper chooses :math:`\lambda` on held-out data. The default, 0.3, is what later papers use
        for eight tasks when there are none; for two or three models more is usually better. The paper has no weights
        per model. Weights that sum to zero are an error when they are to be normalised.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: the weights sum to zero and are to be normalised, or are not one per model.

    >>> import torch
    >>> task_arithmetic(torch.ones(2), torch.tensor([[5.0, 0.0], [3.0, 4.0]]), scale=0.5)
    tensor([4., 2.])
    """
    same_shape(base, tuned, where="merge/task_arithmetic")
    rule = _rule({"weight": weight, "scale": scale, "normalize": normalize}, len(tuned))
    return add_weighted(base, tuned, rule)
