"""Add what one model learned beyond another to a third: A + (B - C)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from ligate.core.direct import AddWeighted
from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.rows import add_weighted

if TYPE_CHECKING:
    from torch import Tensor


def _rule(params: Mapping[str, Any], models: int) -> AddWeighted:
    return AddWeighted((1.0, params["multiplier"]), 1.0)


@method(title="Add difference", source="practice", base="required", models=(2, 2), direct=_rule)
def add_difference(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    multiplier: Annotated[float, Range()] = 0.5,
) -> Tensor:
    r"""Add the difference between the second model and the base to the first model.

    .. math::
        \theta = \theta_A + \lambda\,(\theta_B - \theta_C)

    with A and B the two models in their order, C the base of B and :math:`\lambda` = ``multiplier``. A need not be made
    from C. It is computed as C + (A - C) + :math:`\lambda` (B - C), which is the same, and keeps what no model changed.
    The result takes config and dtype from the base; ``output: {donor: A}`` takes the config from A.

    Shapes: ``base`` [*S]; ``tuned`` [2, *S], float; returns [*S]. Dtypes are the engine's.
    Source: a practice of those who merge image models; task arithmetic (arXiv:2212.04089) with weights 1 and
        :math:`\lambda`.
    Differs: nothing is published about it as a method. Tensors of the three models must have one shape; a recipe's
        ``fill`` gives other models the extra input channels of an inpainting model.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: there are not two models.

    >>> import torch
    >>> add_difference(torch.ones(2), torch.tensor([[5.0, 0.0], [3.0, 4.0]]))
    tensor([6.0000, 1.5000])
    """
    with_base(base, tuned, where="merge/add_difference", fewest=2, most=2)
    return add_weighted(base, tuned, _rule({"multiplier": multiplier}, 2))
