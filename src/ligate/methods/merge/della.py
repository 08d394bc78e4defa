"""DELLA: drop small entries of the task vectors more often than large ones, elect signs, average what agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.elect import disjoint_merge, disjoint_rule
from ligate.ops.fitting import gained, with_base
from ligate.ops.magprune import check_chances, drop_stats, kept_rows, ranges
from ligate.ops.notebook import complete
from ligate.ops.rows import per_model

if TYPE_CHECKING:
    from torch import Tensor


@method(
    title="DELLA",
    source="arXiv:2406.11617",
    base="required",
    symmetric=True,
    reach="row",
    stats=drop_stats,
    stat_names=("gain",),
    check=check_chances,
)
def della(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    gain: Sequence[float] | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.7,
    epsilon: Annotated[float | Sequence[float], Range(0), PerModel()] = 0.07,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.1,
    normalize: bool = True,
    tie: Literal["positive", "zero"] = "positive",
    rescale: Literal["inverse_prob", "l1", "none"] = "inverse_prob",
) -> Tensor:
    r"""Drop entries of each task vector, small ones more often; elect a sign per coordinate; average what has it.

    .. math::
        \tilde\tau_{kj} = \frac{m_{kj}\,\tau_{kj}}{\pi_{kj}}, \quad m_{kj} \sim \mathrm{Bernoulli}(\pi_{kj}), \quad
        \gamma = \operatorname{sgn}\sum_k w_k \tilde\tau_k, \\
        \theta = \theta_0 + \lambda\,\frac{\sum_k w_k \tilde\tau_k\,[\operatorname{sgn}(w_k \tilde\tau_k) = \gamma]}
                                          {\sum_k w_k\,[\operatorname{sgn}(w_k \tilde\tau_k) = \gamma]}

    with the probabilities :math:`\pi_{kj}` of merge/della_linear, from ``density`` and ``epsilon``; ``rescale`` is that
    rule's too. :math:`w_k` = ``weight``, :math:`\lambda` = ``scale``. Without ``normalize`` there is no divisor. A sum
    of zero elects the positive sign, or with ``tie: zero`` neither.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2406.11617 and its official code, whose example gives the defaults (drop rate 0.3, window 0.14,
        scale 1.1).
    Differs: the official code's variants with a scale per row or layer, and with ranks in the whole layer, are left
        out. mergekit's meaning is ``rescale: l1``, ``scale: 1``.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: no ``site`` to draw from; probabilities outside 0 and 1; not one value per model.

    >>> import torch
    >>> from ligate.ops.notebook import site
    >>> place = site("w", (4,), ["math"], seed=10)  # its noise drops the last entry alone
    >>> tuned = torch.tensor([[0.1, -0.4, 0.2, 0.3]])
    >>> della(torch.zeros(4), tuned, site=place, density=0.5, epsilon=0.1, scale=1)
    tensor([ 0.2500, -0.6667,  0.4286,  0.0000])
    """
    with_base(base, tuned, where="merge/della")
    params = {"density": density, "epsilon": epsilon, "rescale": rescale}
    ranges(params, len(tuned))
    weights = per_model(weight, len(tuned), name="weight")
    known = complete(drop_stats(params), base, tuned, site, {"gain": gain})
    rule = disjoint_rule(
        thresholds=None,
        gains=gained(weights, known["gain"]),
        weights=weights,
        tie=tie,
        majority=None,
        normalize=normalize,
        scale=scale,
    )
    rows = torch.stack([row.double() for row in kept_rows(params, base, tuned, site=site)])
    return disjoint_merge(base.double(), rows, rule, models=False).to(base.dtype)
