"""Spherical interpolation between two models, or between their changes of a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.fitting import counted, with_base
from ligate.ops.gram import coefficient_stat, combination, combined, cosines_of, lengths_of
from ligate.ops.notebook import complete
from ligate.ops.rows import per_model, total_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_NO_ARC = 1e-12  # 1 - |cos| below this: the angle is lost to rounding


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    def coefficients(gram: NDArray[Any]) -> NDArray[Any]:
        return _on_the_arc(gram, _goal(params), keep_right=params["no_angle"] == "right")

    return (coefficient_stat("coefficients", params["along"], coefficients),)


def _goal(params: Mapping[str, Any]) -> float:
    """How far to go from the first model to the second."""
    weights = per_model(params["weight"], 2, name="weight")
    return weights[1] / total_weight(weights)


def _check(params: Mapping[str, Any]) -> None:
    weight = params["weight"]
    total_weight((weight,) if isinstance(weight, (int, float)) else weight)


def _on_the_arc(gram: NDArray[Any], t: float, *, keep_right: bool) -> NDArray[Any]:
    """Coefficients [2, vectors] from dot products [vectors, 2, 2]."""
    cosine = cosines_of(gram)[:, 0, 1]
    bent = np.abs(cosine) <= 1 - _NO_ARC
    if not keep_right:
        bent &= lengths_of(gram).min(axis=1) > 0
    angle = np.arccos(np.where(bent, cosine, 0.0))
    arc = np.sin(np.stack([(1 - t) * angle, t * angle])) / np.sin(angle)
    return np.where(bent, arc, np.array([[1 - t], [t]]))


@method(
    title="NuSLERP",
    source="https://github.com/arcee-ai/mergekit",
    base="optional",
    models=(2, 2),
    symmetric=True,
    stats=_stats,
    stat_names=("coefficients",),
    direct=combination,
    check=_check,
)
def nuslerp(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    coefficients: NDArray[Any] | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    along: Literal["tensor", "rows", "columns"] = "tensor",
    no_angle: Literal["straight", "right"] = "straight",
) -> Tensor:
    r"""Go along the arc between two models to where their weights balance; with a base, between their changes of it.

    .. math::
        \theta = \theta_0 + \frac{\sin((1-t)\,\omega)}{\sin\omega}\,\tau_1 + \frac{\sin(t\,\omega)}{\sin\omega}\,\tau_2,
        \quad t = \frac{w_2}{w_1 + w_2}, \quad \cos\omega = \frac{\langle\tau_1, \tau_2\rangle}{|\tau_1|\,|\tau_2|}

    with :math:`\tau_k = \theta_k - \theta_0` and :math:`w_k` = ``weight``; without a base :math:`\theta_0 = 0`. The
    angle is that of the flattened tensor, or each row or column has its own (``along``: a row runs over the last axis,
    a column over the first). A straight line replaces the arc where the two are parallel or opposite, and where one of
    them is zero (``no_angle: right`` takes a right angle there).

    Shapes: ``base`` [*S] or None; ``tuned`` [2, *S], float; returns [*S]. Dtypes are the engine's.
    Source: a rule of mergekit; no paper defines it.
    Differs: mergekit takes the middle where the weights sum to zero, which is an error here, and a right angle where a
        change is zero (``no_angle: right``). Its option for rows means the columns of the stored matrix.

    Raises:
        InputError: ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: there are not two models; the weights sum to zero, or are not one per model.

    >>> import torch
    >>> nuslerp(None, torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor([2.1213, 0.7071])
    """
    counted(tuned, where="merge/nuslerp", fewest=2, most=2)
    if base is not None:
        with_base(base, tuned, where="merge/nuslerp")
    params = {"weight": weight, "along": along, "no_angle": no_angle}
    known = complete(_stats(params), base, tuned, site, {"coefficients": coefficients})
    return combined(base, tuned, known["coefficients"], along, site)
