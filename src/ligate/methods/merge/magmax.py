"""MagMax: of all changes to a weight, take the largest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch

from ligate.core.direct import Largest
from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base

if TYPE_CHECKING:
    from torch import Tensor


def _rule(params: Mapping[str, Any], models: int) -> Largest:
    return Largest([1.0] * models, params["scale"])


@method(title="MagMax", source="arXiv:2407.06322", base="required", symmetric=True, direct=_rule)
def magmax(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    scale: Annotated[float, Range()] = 0.5,
) -> Tensor:
    r"""Add, at each coordinate, the change of the largest magnitude.

    .. math::
        \theta = \theta_0 + \lambda\,\tau_{k^*}, \quad k^* = \arg\max_k |\tau_k|, \quad \tau_k = \theta_k - \theta_0

    elementwise, with :math:`\lambda` = ``scale``. Of two opposite changes of one magnitude the positive one is taken.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2407.06322; the default is what its code uses for eight data sets. The paper fine-tunes the models
        one after the other on a sequence of tasks; the rule is the same for models tuned independently.
    Differs: the official code takes the last of several models of one magnitude; here their order is irrelevant.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.

    >>> import torch
    >>> magmax(torch.ones(3), torch.tensor([[5.0, 0.0, 2.0], [-1.0, 4.0, 0.0]]), scale=1)
    tensor([5., 4., 2.])
    """
    with_base(base, tuned, where="merge/magmax")
    start = base.double()
    up = down = tuned[0].double() - start
    for model in tuned[1:]:
        tau = torch.sub(model, start)
        up, down = torch.maximum(up, tau), torch.minimum(down, tau)
    return (start + scale * torch.where(up >= -down, up, down)).to(base.dtype)
