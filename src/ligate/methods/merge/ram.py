"""RAM: average each entry over the models that changed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from ligate.core.direct import MeanOfChanged
from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.overlap import mean_of_changed

if TYPE_CHECKING:
    from torch import Tensor


def _rule(known: Mapping[str, Any], models: int) -> MeanOfChanged:
    return MeanOfChanged([1.0] * models, known["epsilon"], known["scale"])


@method(title="Reinforced Agent Merging", source="arXiv:2601.13572", base="required", symmetric=True, direct=_rule)
def ram(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    epsilon: Annotated[float, Range(0)] = 1e-5,
    scale: Annotated[float, Range()] = 1.0,
) -> Tensor:
    r"""Average each entry over the models that changed it, so that what one alone has learnt is not diluted.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad m_k = [\,|\tau_k| > \varepsilon\,], \quad
        \theta = \theta_0 + \lambda\,\frac{\sum_k m_k \tau_k}{\max(1, \sum_k m_k)}

    with :math:`\varepsilon` = ``epsilon`` and :math:`\lambda` = ``scale``. Reinforcement learning changes few
    parameters: most entries are changed by no model or by one.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2601.13572, as the method of this name in mergekit 0.1.5 has it; ``scale`` is an addition.
    Differs: nothing else. The threshold is absolute, as there: in bfloat16 it hides changes of small numbers only.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.

    >>> import torch
    >>> ram(torch.zeros(3), torch.tensor([[4.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    tensor([3., 1., 0.])
    """
    with_base(base, tuned, where="merge/ram")
    return mean_of_changed(base, tuned, _rule({"epsilon": epsilon, "scale": scale}, len(tuned)))
