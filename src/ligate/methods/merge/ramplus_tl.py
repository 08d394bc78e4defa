"""RAM+, tensor by tensor: what one model alone has changed is raised where it shares much with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ligate.core.direct import MeanOfChanged, Stored
from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.notebook import complete
from ligate.ops.overlap import mean_of_changed, shared_and_alone

if TYPE_CHECKING:
    from torch import Tensor

_Counts = list[tuple[int, int]]  # per model: entries it changes with others, and alone


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """How much of each model's change is shared."""

    def observe(state: _Counts, base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> _Counts:
        return _added(state, shared_and_alone(base, tuned, params["epsilon"]))

    def direct(state: _Counts, stored: Stored, **_: Any) -> _Counts:
        return _added(state, stored.overlap(params["epsilon"]))

    stat = Stat("shared", "tensor", lambda models: [(0, 0)] * models, observe, _added, tuple, _told, direct=direct)
    return (stat,)


def _added(a: _Counts, b: _Counts) -> _Counts:
    return [(x[0] + y[0], x[1] + y[1]) for x, y in zip(a, b, strict=True)]


def _told(counts: Sequence[tuple[int, int]]) -> Mapping[str, Any]:
    return {"shared": [shared for shared, _ in counts], "alone": [alone for _, alone in counts]}


def _gain(shared: int, alone: int, boost: float, cap: float) -> float:
    return 1 + boost * (min(shared / alone, cap) if alone else cap)


def _rule(known: Mapping[str, Any], models: int) -> MeanOfChanged:
    """Of parameters and statistics."""
    gains = [_gain(shared, alone, known["boost"], known["cap"]) for shared, alone in known["shared"]]
    return MeanOfChanged(gains, known["epsilon"], known["scale"])


@method(
    title="Reinforced Agent Merging Plus (tensor-local)",
    source="arXiv:2601.13572",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("shared",),
    direct=_rule,
)
def ramplus_tl(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    shared: Sequence[tuple[int, int]] | None = None,
    boost: Annotated[float, Range()] = 0.1,
    cap: Annotated[float, Range(0)] = 0.2,
    epsilon: Annotated[float, Range(0)] = 1e-5,
    scale: Annotated[float, Range()] = 1.0,
) -> Tensor:
    r"""Average each entry over the models that changed it; raise what is one's own in models that share much.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad m_k = [\,|\tau_k| > \varepsilon\,], \quad c = \sum_k m_k, \quad
        \lambda_k = 1 + r \min\Big(\alpha, \frac{\#\{m_k = 1, c > 1\}}{\#\{m_k = 1, c = 1\}}\Big), \\
        \theta = \theta_0 + \lambda \sum_k m_k \tau_k \cdot
            \begin{cases} \lambda_k & c = 1 \\ 1/c & c > 1 \end{cases}

    with :math:`\varepsilon` = ``epsilon``, r = ``boost``, :math:`\alpha` = ``cap``, :math:`\lambda` = ``scale``. The
    counts are those of the tensor.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2601.13572, as the method of this name in mergekit 0.1.5 has it; ``scale`` is an addition.
    Differs: mergekit calls ``boost`` `r` and ``cap`` `alpha`. TL is for tensor-local: the counts are not those of the
        whole model.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.

    >>> import torch
    >>> ramplus_tl(torch.zeros(3), torch.tensor([[4.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    tensor([3.0000, 1.0200, 0.0000])
    """
    with_base(base, tuned, where="merge/ramplus_tl")
    known = complete(_stats({"epsilon": epsilon}), base, tuned, site, {"shared": shared})
    params = {"boost": boost, "cap": cap, "epsilon": epsilon, "scale": scale}
    return mean_of_changed(base, tuned, _rule({**params, **known}, len(tuned)))
