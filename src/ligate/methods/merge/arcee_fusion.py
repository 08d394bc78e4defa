"""Arcee Fusion: take from another model the weights whose change is unusually important."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.notebook import complete
from ligate.ops.order import Kth, kth_largest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_EPS = 1e-8  # added to every probability
_SHARES = (0.75, 0.5, 0.25)  # not smaller than the first quartile, the median, the third quartile


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The divergence of each row, then the quartiles of the importance."""
    quartiles = kth_largest("quartiles", "tensor", _SHARES, _importances, rank=_rank, each=len(_SHARES))
    return _divergence(), quartiles._replace(init=lambda models: quartiles.init(len(_SHARES)))


def _rank(share: float, numel: int) -> int:
    """The quantile of 1 - share is the number at floor((1 - share)(n - 1)) of the ascending order."""
    return numel - int((1 - share) * (numel - 1))


def _divergence() -> Stat:
    """From the softmax of each row of the base to that of the model's; in the order of the rows."""

    def observe(state: list[NDArray[Any]], base: Tensor, tuned: Tensor, *, site: Site) -> list[NDArray[Any]]:
        width = _width(site.shape)
        p, q = (torch.softmax(x.reshape(-1, width).double(), dim=1).add_(_EPS) for x in (tuned[0], base))
        return [*state, (p * (p / q).log()).sum(dim=1).clamp_min_(0).numpy()]

    def finish(state: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(state)

    return Stat("divergence", "tensor", lambda models: [], observe, lambda a, b: a + b, finish)


def _width(shape: Sequence[int]) -> int:
    return shape[-1] if shape else 1


def _importance(base: Tensor, tuned: Tensor, divergence: NDArray[Any], shape: Sequence[int], start: int) -> Tensor:
    """Of each entry of a flat block."""
    row = np.arange(start, start + base.numel()) // _width(shape)
    return (tuned[0].double() - base.double()).abs() * torch.from_numpy(divergence[row])


def _importances(base: Tensor, tuned: Tensor, *, site: Site, divergence: NDArray[Any]) -> Iterator[Tensor]:
    """In the sample of a notebook the rows are not right: it only guides the search."""
    yield _importance(base, tuned, divergence, site.shape, site.start)


@method(
    title="Arcee Fusion",
    source="https://github.com/arcee-ai/mergekit",
    base="required",
    models=(1, 1),
    reach="row",
    stats=_stats,
    stat_names=("divergence", "quartiles"),
)
def arcee_fusion(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    divergence: NDArray[Any] | None = None,
    quartiles: Sequence[Kth] | None = None,
    fence: Annotated[float, Range()] = 1.5,
) -> Tensor:
    r"""Take the other model's weights where the importance of their change is an outlier of the tensor.

    .. math::
        I = |\theta_1 - \theta_0| \cdot
            D\bigl(\operatorname{softmax}\theta_1 \,\|\, \operatorname{softmax}\theta_0\bigr), \\
        b = Q_2 + f\,(Q_3 - Q_1), \quad
        \theta = \theta_0 + (\theta_1 - \theta_0)\,[\,I \ge b\,]

    with the softmax over each row (the last axis) and D the Kullback-Leibler divergence between two such rows, 1e-8
    being added to every probability; :math:`Q_1, Q_2, Q_3` are the quartiles of I in the tensor, each the number at
    :math:`\lfloor q (N - 1)\rfloor` of the ascending order; f = ``fence``.

    Shapes: ``base`` [*S]; ``tuned`` [1, *S], float; returns [*S]. Dtypes are the engine's.
    Source: a rule of mergekit; no paper defines it.
    Differs: the quartiles are exact where mergekit, in tensors of more than a million entries, draws a million of them
        at random; everything is computed in float64, the divergence of two nearly equal rows being mostly rounding
        error in a narrower type.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: there is more than one model.

    >>> import torch
    >>> arcee_fusion(torch.zeros(5), torch.tensor([[0.1, 0.1, 0.1, 0.1, 2.0]]))  # Q1 = Q2 = Q3: all are outliers
    tensor([0.1000, 0.1000, 0.1000, 0.1000, 2.0000])
    >>> arcee_fusion(torch.zeros(5), torch.tensor([[0.1, 0.2, 0.3, 0.4, 2.0]]))  # the bound is that of 0.6
    tensor([0., 0., 0., 0., 2.])
    """
    with_base(base, tuned, where="merge/arcee_fusion", most=1)
    known = complete(_stats({}), base, tuned, site, {"divergence": divergence, "quartiles": quartiles})
    first, median, third = (kth.value for kth in known["quartiles"])
    bound = median + fence * (third - first)
    start, end = base.reshape(-1), tuned.reshape(1, -1)
    shape, at = (site.shape, site.start) if site else (tuple(base.shape), 0)
    important = _importance(start.detach(), end.detach(), known["divergence"], shape, at) >= bound
    origin = start.double()
    merged = origin + (end[0].double() - origin) * important
    return merged.to(base.dtype).view(base.shape)
