"""WIDEN: weigh each column of a task vector by how much the column's length and direction have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch

from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.matrices import whole_shape
from ligate.ops.notebook import complete

if TYPE_CHECKING:
    from torch import Tensor

Units = Literal["column", "row"]
"""What has a length and a direction: the columns of a matrix, or, where a row belongs to a token, its rows."""


class Sums(NamedTuple):
    """What is added up over the matrix: for each unit the squares of base and models, and their products."""

    base: Tensor  # [units]
    models: Tensor  # [K, units]
    across: Tensor  # [K, units]: of a model and the base


class Means(NamedTuple):
    """Of a tensor that is no matrix: the sum of each model's magnitudes of change, and how many there are."""

    change: Tensor  # [K]
    numel: int


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The scores by which task vectors are weighted: [K, units], or thresholds [K] for a tensor that is no matrix."""

    def observe(state: Any, base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Any:
        seen = _sums(base, tuned, site, params["units"]) if len(site.shape) == 2 else _means(base, tuned)
        return _added(state, seen)

    def finish(state: Any) -> Tensor:
        if isinstance(state, Means):
            return state.change / max(state.numel, 1) * params["above"]
        return _scores(state, params["above"], params["calibrated"])

    return (Stat("scores", "tensor", lambda models: None, observe, _added, finish, _told),)


def _told(scores: Tensor) -> Mapping[str, Any]:
    return {"mean_score": scores.mean(1).tolist()} if scores.dim() == 2 and scores.numel() else {}


def _added(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return type(a)(*(x + y for x, y in zip(a, b, strict=True)))


def _means(base: Tensor, tuned: Tensor) -> Means:
    apart = [(model.double() - base.double()).abs().sum() for model in tuned]
    return Means(torch.stack(apart), base.numel())


def _sums(base: Tensor, tuned: Tensor, site: Site, units: Units) -> Sums:
    """Of whole rows of a matrix."""
    width = site.shape[1]
    start, rows = base.double().view(-1, width), site.start // max(width, 1)
    axis = 0 if units == "column" else 1

    def over(product: Tensor) -> Tensor:
        found = product.sum(axis)
        if units == "column":
            return found
        whole = found.new_zeros(site.shape[0])
        whole[rows : rows + len(found)] = found
        return whole

    models = [model.double().view(-1, width) for model in tuned]
    return Sums(
        over(start.square()),
        torch.stack([over(model.square()) for model in models]),
        torch.stack([over(model * start) for model in models]),
    )


def _scores(sums: Sums, above: float, calibrated: float) -> Tensor:
    before, after = sums.base.sqrt(), sums.models.sqrt()
    longer = (after - before).abs()
    lengths = before * after
    cosine = torch.where(lengths > 0, sums.across / lengths.clamp_min(torch.finfo(torch.float64).tiny), 1.0)
    found = [_calibrated(_ranks(change), above, calibrated) for change in (longer, 1 - cosine)]
    return (found[0] + found[1]) / 2


def _ranks(change: Tensor) -> Tensor:
    """Within each model, 0 for the unit that changed least to n - 1; of equals, the earlier first."""
    order = torch.argsort(change, dim=1, stable=True)
    places = torch.arange(change.shape[1], dtype=change.dtype, device=change.device)
    return torch.zeros_like(change).scatter_(1, order, places.expand_as(change).contiguous())


def _calibrated(ranks: Tensor, above: float, calibrated: float) -> Tensor:
    """Shares of the models in each unit; those far above the average rank are set."""
    units = ranks.shape[1]
    shares = torch.softmax(ranks / units, dim=0)
    return torch.where(ranks > above * (units - 1) / 2, calibrated, shares)


@method(
    title="WIDEN",
    source="arXiv:2408.03092",
    base="required",
    symmetric=True,
    reach="row",
    stats=_stats,
    stat_names=("scores",),
)
def widen(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    scores: Tensor | None = None,
    above: Annotated[float, Range(0)] = 1.0,
    calibrated: Annotated[float, Range()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    units: Literal["column", "row"] = "column",
) -> Tensor:
    r"""Take each column of a task vector as far as its length and direction have changed, compared to other columns.

    .. math::
        m_j = \lVert \theta_{\cdot j} \rVert, \quad
        \Delta^m_{kj} = |m_{kj} - m_{0j}|, \quad
        \Delta^d_{kj} = 1 - \cos(\theta_{k \cdot j}, \theta_{0 \cdot j}), \quad
        r_{kj} = \frac{\#\{i : \Delta_{ki} < \Delta_{kj}\}}{n}, \\
        s_{kj} = \begin{cases} c & r_{kj} > t\,\bar r_k \\ e^{r_{kj}} / \sum_i e^{r_{ij}} & \text{else} \end{cases},
        \quad \theta = \theta_0 + \lambda \sum_k \tfrac12 (s^m_{k} + s^d_{k})\,(\theta_k - \theta_0)

    with t = ``above``, c = ``calibrated``, :math:`\lambda` = ``scale`` and n columns; of equal changes the earlier
    column has the lower rank. Ranks are taken within a model, so that a model that changed little is heard beside one
    that changed much. ``units: row`` takes rows for columns: use it for token embeddings. In tensors that are no
    matrices every entry is scored by the magnitude of its change, in place of its rank. Scores need not sum to 1.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2408.03092 and its official code.
    Differs: the official code turns the embedding of a Llama or Qwen by its name; here the recipe says so with
        ``units``. A column of zeros has changed no direction; there it is not a number, which ranks highest. Sums of
        products are in float64: the direction of a column that hardly turned is not lost in rounding; nor does rounding
        decide whether the median of an odd number of columns is above their mean (it is not). ``scale`` and kernels of
        more than two axes, treated like vectors, are additions.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.

    >>> import torch
    >>> tuned = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]]])
    >>> widen(torch.eye(2), tuned)
    tensor([[1.7500, 1.0000],
            [0.0000, 1.0000]])
    """
    with_base(base, tuned, where="merge/widen")
    if not base.numel():
        return base.clone()
    params = {"above": above, "calibrated": calibrated, "units": units}
    found: Tensor = complete(_stats(params), base, tuned, site, {"scores": scores})["scores"]
    origin, shape = base.double(), whole_shape(tuned, site)
    changes = [model.double() - origin for model in tuned]
    if len(shape) == 2:
        changes = [change.view(-1, shape[1]) for change in changes]
        weights = _block_of(found, changes[0], units, site.start // shape[1] if site else 0)
    else:
        weights = _entry_scores(changes, found, calibrated)
    step = torch.zeros_like(changes[0])
    for change, weight in zip(changes, weights, strict=True):
        step = step + change * weight
    return (origin + scale * step.view(origin.shape)).to(base.dtype)


def _block_of(scores: Tensor, rows: Tensor, units: Units, first: int) -> Iterable[Tensor]:
    """The scores of some rows of the matrix, in a shape that multiplies them."""
    return scores[:, None, :] if units == "column" else scores[:, first : first + len(rows), None]


def _entry_scores(changes: Sequence[Tensor], thresholds: Tensor, calibrated: float) -> Iterable[Tensor]:
    sizes = torch.stack([change.detach().abs() for change in changes])
    bounds = thresholds.view(-1, *(1,) * (sizes.dim() - 1))
    return torch.where(sizes > bounds, calibrated, torch.softmax(sizes, dim=0))
