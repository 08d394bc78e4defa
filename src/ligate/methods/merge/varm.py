"""VaRM: average the models, each parameter matrix weighted by how much the model changed it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core import kernels
from ligate.core.direct import AddWeighted, Stored
from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.notebook import complete
from ligate.ops.rows import add_weighted

if TYPE_CHECKING:
    from torch import Tensor

Measure = Literal["square", "magnitude"]


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """How much each model changed this tensor."""
    measure: Measure = params["measure"]

    def observe(state: list[float], base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> list[float]:
        return _added(state, [_size(model, base, measure) for model in tuned.detach()])

    def direct(state: list[float], stored: Stored, **_: Any) -> list[float]:
        return _added(state, stored.energies() if measure == "square" else stored.lengths())

    return (
        Stat(
            name="change",
            scope="tensor",
            init=lambda models: [0.0] * models,
            observe=observe,
            merge=_added,
            finish=tuple,
            report=lambda change: {"change": list(change)},
            direct=direct,
        ),
    )


def _size(model: Tensor, base: Tensor, measure: Measure) -> float:
    if measure == "magnitude":
        return kernels.length((model - base.detach()).reshape(-1))
    apart = (model.double() - base.detach().double()).reshape(-1)
    return kernels.dot(apart, apart)


def _added(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _rule(known: Mapping[str, Any], models: int) -> AddWeighted:
    return AddWeighted(_weights(known["change"]), known["scale"])


def _weights(change: Sequence[float]) -> Sequence[float]:
    """Shares of the change; equal ones where nothing changed."""
    total = math.fsum(change)
    return [one / total for one in change] if total > 0 else [1 / len(change)] * len(change)


@method(
    title="VaRM",
    source="arXiv:2402.16107",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("change",),
    direct=_rule,
)
def varm(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    change: Sequence[float] | None = None,
    measure: Literal["square", "magnitude"] = "square",
    scale: Annotated[float, Range()] = 1.0,
) -> Tensor:
    r"""Average the models, each one's share in a tensor being its share in the change of that tensor.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad
        w_k = \frac{\operatorname{mean} \tau_k^2}{\sum_j \operatorname{mean} \tau_j^2}, \quad
        \theta = \theta_0 + \lambda \sum_k w_k \tau_k

    with :math:`\lambda` = ``scale``; 1 is the weighted average of the models. The means are over the entries of the
    tensor, of squares or (``measure: magnitude``) of magnitudes. A tensor that no model changed stays as it is.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2402.16107 (the parameter-wise merge of FuseChat's first report) and its official code; ``scale``
        is an addition.
    Differs: where one model left a tensor unchanged the official code weighs all models equally, here that model
        counts for nothing, as the equation says. Its coarser and finer granularities and its signed measure are left
        out.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.

    >>> import torch
    >>> varm(torch.zeros(2), torch.tensor([[1.0, 3.0], [3.0, 9.0]]))
    tensor([2.8000, 8.4000])
    """
    with_base(base, tuned, where="merge/varm")
    known = complete(_stats({"measure": measure}), base, tuned, site, {"change": change})
    return add_weighted(base, tuned, _rule({**known, "scale": scale}, len(tuned)))
