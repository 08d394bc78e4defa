"""Fisher-weighted averaging: each number counts as much as its model's answers depend on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.rows import check_total, per_model, total_weight

if TYPE_CHECKING:
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The length of each model's Fisher information, all tensors together."""

    def observe(state: list[float], base: Any, tuned: Any, *, fisher: Tensor | None = None, **_: Any) -> list[float]:
        return state if fisher is None else [a + b for a, b in zip(state, _squares(fisher), strict=True)]

    def merge(one: list[float], other: list[float]) -> list[float]:
        return [a + b for a, b in zip(one, other, strict=True)]

    def finish(state: list[float]) -> tuple[float, ...]:
        return tuple(map(math.sqrt, state))

    def report(lengths: tuple[float, ...]) -> Mapping[str, Any]:
        return {"fisher": list(lengths)}

    measure = Stat("lengths", "model", lambda models: [0.0] * models, observe, merge, finish, report)
    return (measure,) if params["normalize"] else ()


def _squares(fisher: Tensor) -> list[float]:
    return [float(one.double().square().sum()) for one in fisher]


@method(
    title="Fisher",
    source="arXiv:2111.09832",
    base="unused",
    symmetric=True,
    stats=_stats,
    stat_names=("lengths",),
    check=check_total,
    measured={"fisher": "model"},
)
def fisher(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    fisher: Tensor | None = None,
    lengths: Sequence[float] | None = None,
    weight: Annotated[float | Sequence[float], Range(0), PerModel()] = 1.0,
    normalize: bool = True,
    floor: Annotated[float, Range(0, open_low=True)] = 1e-12,
) -> Tensor:
    r"""Average the models, each number with the Fisher information that its model has of it.

    .. math::
        \theta = \sum_k \lambda_k F_k \theta_k \Big/ \sum_k \lambda_k F_k, \quad
        F_k = \operatorname{E}_x \operatorname{E}_{y \sim p_k(y | x)}
              \Big[ \big( \partial \log p_k(y | x) / \partial \theta_k \big)^2 \Big]

    with :math:`\lambda_k` = ``weight``; with ``normalize`` each :math:`F_k` is divided by its length over the whole
    model, so that no model outweighs the others because it is less sure. Information below ``floor`` counts as that
    much: where no example has touched a number, the models count the same.

    ``fisher`` is measured before, by `ligate.learn.measuring.fisher` or anybody: a tensor for each model, of the
    weight's name and shape. Tensors without one are averaged.

    Shapes: ``base`` is not used; ``tuned`` and ``fisher`` [K, *S] for K models, float; returns [*S]. Dtypes are the
        engine's; sums are float64.
    Source: equation 4 and section 3 of arXiv:2111.09832, and its public code.
    Differs: there the floor is 1e-6, and only the first model has it, which is the one whose head is kept; here all
        have it, and it is small, since information per number often is. FusionBench adds 1e-6 to the information of
        each model. In a notebook the length is that of the one tensor.

    Raises:
        RecipeError: the weights are all zero, or are not one per model.

    >>> import torch
    >>> tuned, information = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.25], [0.104994]])
    >>> fisher(None, tuned, fisher=information, normalize=False)
    tensor([0.5915])
    """
    weights = per_model(weight, len(tuned), name="weight")
    total_weight(weights)
    if fisher is not None and normalize:
        lengths = lengths or [math.sqrt(square) for square in _squares(fisher.detach())]
        weights = tuple(w / (length or 1.0) for w, length in zip(weights, lengths, strict=True))
    above, below = tuned.new_zeros(()).double(), tuned.new_zeros(()).double()
    for k, share in enumerate(weights):
        information = share if fisher is None else fisher[k].double().clamp_min(floor) * share
        above = above + tuned[k].double() * information
        below = below + information
    return (above / below).to(tuned.dtype)
