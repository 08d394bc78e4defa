"""Consensus merging: add only what matters to several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch

from ligate.core.direct import Consensus
from ligate.core.errors import RecipeError
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.fitting import with_base
from ligate.ops.rows import check_weights, per_model, total_weight, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor


def _check(params: Mapping[str, Any]) -> None:
    check_weights(params)
    if not isinstance(params["weight"], (int, float)):
        _check_agreement(params["agreement"], len(params["weight"]))


def _check_agreement(agreement: int, models: int) -> None:
    if agreement > models:
        raise RecipeError(
            f"`agreement` is {agreement}, but there are only {models} models",
            hint="nothing would be left of any change; choose at most the number of models.",
        )


def _rule(known: Mapping[str, Any], models: int) -> Consensus:
    _check_agreement(known["agreement"], models)
    weights = per_model(known["weight"], models, name="weight")
    factor = known["scale"] / total_weight(weights, normalize=known["normalize"])
    return Consensus(weights, per_model(known["strictness"], models, name="strictness"), known["agreement"], factor)


@method(
    title="Consensus",
    source="arXiv:2405.07813",
    base="required",
    models=(2, None),
    symmetric=True,
    check=_check,
    direct=_rule,
)
def consensus(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    strictness: Annotated[float | Sequence[float], Range(0), PerModel()] = 0.4,
    agreement: Annotated[int, Range(0)] = 2,
    scale: Annotated[float, Range()] = 0.3,
    normalize: bool = False,
) -> Tensor:
    r"""Add the sum of the task vectors where it matters to at least ``agreement`` of the tasks.

    .. math::
        \tau = \sum_k w_k \tau_k, \quad m_k = [\,|\tau_k| \ge \lambda_k\,|\tau - \tau_k|\,], \quad
        \theta = \theta_0 + \alpha\,\tau\,\Big[\sum_k m_k \ge n\Big]

    elementwise, with :math:`\tau_k = \theta_k - \theta_0`, :math:`w_k` = ``weight``, :math:`\lambda_k` =
    ``strictness`` (the mask of task k keeps less the larger it is), n = ``agreement`` and :math:`\alpha` = ``scale``,
    divided by the sum of the weights if ``normalize``. With n = 1 only weights that matter to no task go; with n = 2,
    the paper's choice, also those that matter to a single one; with n = 0 all stay.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, at least 2, float; returns [*S]. Dtypes are the engine's.
    Source: TALL masks and Consensus Task Arithmetic of arXiv:2405.07813.
    Differs: the paper chooses each :math:`\lambda_k` among 0.2, 0.3, ..., 0.6, and :math:`\alpha`, on held-out data;
        the defaults are the middle of the former and that of merge/task_arithmetic. The official code asks for more
        than the bound, not for as much. The paper has no weights per model. The masks, with which it gets each task's
        model back from the sum, are not stored.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: more agreement than models; weights that sum to zero are to be normalised; not one per model.

    >>> import torch
    >>> tuned = torch.tensor([[4.0, -1.0, 2.0, 0.5], [2.0, 3.0, -1.0, 0.5], [-1.0, 2.0, 4.0, -0.5]])
    >>> consensus(torch.zeros(4), tuned, strictness=0.5, scale=1)
    tensor([5.0000, 4.0000, 5.0000, 0.5000])
    """
    with_base(base, tuned, where="merge/consensus", fewest=2)
    params = {
        "weight": weight, "strictness": strictness, "agreement": agreement, "scale": scale, "normalize": normalize
    }  # fmt: skip
    rule = _rule(params, len(tuned))
    start = base.double()
    taus = [torch.sub(model, start) for model in tuned]
    total = weighted_sum(taus, rule.weights)
    votes = torch.zeros_like(total)
    for tau, bound in zip(taus, rule.strictness, strict=True):
        others = torch.sub(total, tau).detach().abs_().mul_(bound)
        votes += torch.ge(tau.detach().abs(), others, out=others)
    return (start + rule.scale * total * (votes >= agreement)).to(base.dtype)
