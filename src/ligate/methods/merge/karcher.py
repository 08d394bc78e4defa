"""The mean of several models on a sphere: SLERP for any number of models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.gram import coefficient_stat, combination, combined, cosines_of, length_of_sum, lengths_of
from ligate.ops.notebook import complete
from ligate.ops.rows import per_model, total_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    def coefficients(gram: NDArray[Any]) -> NDArray[Any]:
        weights = per_model(params["weight"], gram.shape[1], name="weight")
        shares = np.array(weights) / total_weight(weights)
        return _on_the_sphere(gram, shares, params["max_iter"], params["tol"])[:, None]

    return (coefficient_stat("coefficients", "tensor", coefficients),)


def _check(params: Mapping[str, Any]) -> None:
    weight = params["weight"]
    total_weight((weight,) if isinstance(weight, (int, float)) else weight)


def _on_the_sphere(gram: NDArray[Any], shares: NDArray[Any], rounds: int, tol: float) -> NDArray[Any]:
    """Coefficients of the models from their dot products [1, K, K]: the mean direction times the mean length."""
    lengths = lengths_of(gram)[0]
    pulling = np.where(lengths > 0, shares, 0.0)
    if not abs(pulling.sum()) > 0:
        return shares
    direction = _mean_direction(cosines_of(gram)[0], pulling / pulling.sum(), rounds, tol)
    if direction is None:
        return shares
    return float(shares @ lengths) * np.divide(direction, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def _mean_direction(cosines: NDArray[Any], shares: NDArray[Any], rounds: int, tol: float) -> NDArray[Any] | None:
    """The mean as a combination of the unit vectors: it lies in their span, so their cosines are all that is needed.

    None where the unit vectors cancel out.
    """
    length = length_of_sum(cosines, shares)
    if not length:
        return None
    mean = shares / length
    for _ in range(rounds):
        towards = np.clip(cosines @ mean, -1.0, 1.0)
        pull = shares * _angle_by_sine(towards)
        step = pull - float(pull @ towards) * mean
        angle = math.sqrt(max(float(step @ cosines @ step), 0.0))
        if angle <= tol:
            break
        moved = math.cos(angle) * mean + math.sin(angle) / angle * step
        mean = moved / (length_of_sum(cosines, moved) or 1.0)
    return mean


def _angle_by_sine(cosine: NDArray[Any]) -> NDArray[Any]:
    """1 for no angle; 0 for opposite vectors, which pull in no direction."""
    sine = np.sqrt((1 - cosine) * (1 + cosine))
    ratio = np.divide(np.arccos(cosine), sine, out=np.ones_like(sine), where=sine > 1e-8)
    return np.where((sine <= 1e-8) & (cosine < 0), 0.0, ratio)


@method(
    title="Karcher mean",
    source="arXiv:2603.04972",
    base="unused",
    symmetric=True,
    stats=_stats,
    stat_names=("coefficients",),
    direct=combination,
    check=_check,
)
def karcher(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    coefficients: NDArray[Any] | None = None,
    weight: Annotated[float | Sequence[float], Range(0), PerModel()] = 1.0,
    max_iter: Annotated[int, Range(0)] = 100,
    tol: Annotated[float, Range(0)] = 1e-12,
) -> Tensor:
    r"""Take the direction whose angles to all models have the least mean square, and the mean of their lengths.

    .. math::
        u = \arg\min_{|u|=1} \sum_k \alpha_k \arccos^2\langle u, u_k\rangle, \quad u_k = \theta_k / |\theta_k|, \quad
        \theta = u \sum_k \alpha_k |\theta_k|

    with :math:`\alpha_k` = ``weight``, divided by their sum, for the flattened tensor. From the normalised mean of the
    :math:`u_k` the search goes, at most ``max_iter`` times, along the mean of the arcs to them until that is not longer
    than ``tol`` (radians). A tensor of zeros has a length but no direction. Where the :math:`u_k` cancel out there is
    no mean on the sphere; the weighted average of the models takes its place.

    Shapes: ``base`` is not used; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: Karcher, Riemannian center of mass and mollifier smoothing, 1977; for weights of models the spherical proxy
        of arXiv:2603.04972.
    Differs: the search uses only the dot products between the models, in float64, and goes on until it has converged;
        mergekit has no weights and stops after 10 rounds or at 1e-5 (``max_iter: 10``, ``tol: 1e-5``).

    Raises:
        RecipeError: the weights sum to zero, or are not one per model.

    >>> import torch
    >>> karcher(None, torch.tensor([[3.0, 0.0], [0.0, 1.0]]))  # half way, of the mean length 2
    tensor([1.4142, 1.4142])
    """
    params = {"weight": weight, "max_iter": max_iter, "tol": tol}
    known = complete(_stats(params), None, tuned, site, {"coefficients": coefficients})
    return combined(None, tuned, known["coefficients"], "tensor", site)
