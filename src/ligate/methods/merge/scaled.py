"""Add task vectors number by number: each number of a model counts as much as somebody has learned or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.rows import check_weights, deltas, per_model, same_shape, total_weight

if TYPE_CHECKING:
    from torch import Tensor


@method(
    title="Scaled task vectors",
    source="practice",
    base="required",
    symmetric=True,
    check=check_weights,
    measured={"factor": "model"},
)
def scaled(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    factor: Tensor | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    normalize: bool = False,
) -> Tensor:
    r"""Add the task vectors to the base, each number times a factor of its own.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad \theta = \theta_0 + \sum_k w_k f_k \odot \tau_k

    with :math:`w_k` = ``weight``, divided by their sum if ``normalize``, and :math:`f_k` = ``factor``, for each model a
    tensor of the weight's name and shape.
    Learned merges come to this rule where one coefficient per tensor does not say them: masks (all models then name
    the same file) and coefficients of parts of a tensor. Tensors without a factor are added whole.

    Shapes: ``base`` [*S]; ``tuned`` and ``factor`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's;
        sums are float64.
    Source: masks of Concrete subspace learning (arXiv:2312.06173), partitions of aTLAS (arXiv:2407.02880), chunks of
        Expert Merging++ (arXiv:2509.25712).
    Differs: these learn and merge in one; here the factors are given.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: the weights are not one per model, or sum to zero and are to be normalised.

    >>> import torch
    >>> base, tuned = torch.zeros(2), torch.tensor([[2.0, 2.0], [4.0, 4.0]])
    >>> scaled(base, tuned, factor=torch.tensor([[1.0, 0.0], [0.5, 0.25]]), weight=[1.0, 2.0])
    tensor([6., 2.])
    """
    same_shape(base, tuned, where="merge/scaled")
    weights = per_model(weight, len(tuned), name="weight")
    whole = total_weight(weights, normalize=normalize)
    total = base.double()
    for k, delta in enumerate(deltas(base, tuned)):
        part = delta.double() * (weights[k] / whole)
        total = total + (part if factor is None else part * factor[k].double())
    return total.to(base.dtype)
