"""PCB-Merging: weigh each entry by its importance in its task and its agreement with the others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.direct import Competition, Stored
from ligate.core.method import Scope, Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.fitting import with_base
from ligate.ops.notebook import complete
from ligate.ops.order import Kth, Pieces, kth_largest
from ligate.ops.rows import per_model
from ligate.ops.smooth import exp, tanh

if TYPE_CHECKING:
    from torch import Tensor

_MOST = 1e-9  # stands for a share of which only the largest entry is wanted

Bounds = Sequence[Kth]
"""An upper and a lower one for each model, in turn."""


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """Between which magnitudes task vectors are cut off; then above which score entries count, and the best score."""
    density, outliers, scope = params["density"], params["outliers"], params["scope"]
    same = (density, outliers)

    def from_top(share: float, numel: int) -> int:
        below = int(numel * outliers) if share > 0.5 else int(numel * (1 - outliers) - 1)
        return numel - max(below, 0)

    def best(share: float, numel: int) -> int:
        return 1 if share == _MOST else numel - int(numel * (1 - density))

    return (
        _pair("bounds", scope, (max(outliers, _MOST), 1.0), from_top, same),
        _pair("cut", scope, (_MOST, density or 2 * _MOST), best, same, _score_rows, _stored_scores),
    )


def _pair(
    name: str,
    scope: Scope,
    shares: tuple[float, float],
    rank: Callable[[float, int], int],
    group: Hashable,
    rows: Callable[..., Iterator[Tensor]] | None = None,
    stored: Callable[..., Sequence[Pieces]] | None = None,
) -> Stat:
    """Two order statistics of each model's row, in one search."""

    def search(models: int) -> Stat:
        return kth_largest(name, scope, shares * models, rows, rank=rank, group=group, stored=stored, each=2)

    return search(1)._replace(init=lambda models: search(models).init(2 * models))


def _score_rows(base: Tensor, tuned: Tensor, *, bounds: Bounds, **_: Any) -> Iterator[Tensor]:
    return _scores(_apart(base, tuned), bounds)


def _stored_scores(stored: Stored, *, bounds: Bounds, **_: Any) -> Sequence[Pieces]:
    return [Pieces(pieces) for pieces in stored.scores([one.value for one in bounds])]


def _apart(base: Tensor, tuned: Tensor) -> list[Tensor]:
    origin = base.double()
    return [model.double() - origin for model in tuned]


def _scores(deltas: Sequence[Tensor], bounds: Bounds) -> Iterator[Tensor]:
    """Importance times agreement; zero for an entry that goes against the others."""
    total = deltas[0].clone()
    for delta in deltas[1:]:
        total += delta
    for delta, high, low in zip(deltas, bounds[::2], bounds[1::2], strict=True):
        room = high.value - low.value
        size = delta.abs().clamp_(low.value, high.value).sub_(low.value)
        size = size.div_(room) if room > 0 else size.zero_()
        yield exp(size.square_().mul_(len(deltas))).mul_(tanh(delta * total)).clamp_min_(0)


def _rule(known: Mapping[str, Any], models: int) -> Competition:
    """Of parameters and statistics: a score of the floor counts nothing, the best one counts 1."""
    weights, density = per_model(known["weight"], models, name="weight"), known["density"]
    floors: list[float] = []
    rooms: list[float] = []
    for best, least in zip(known["cut"][::2], known["cut"][1::2], strict=True):
        floor = least.value if density < 1 else 0.0
        none = density == 0 or best.value <= 0
        room = -1.0 if none else max(best.value - floor, 0.0)
        floors.append(0.0 if none else best.value if room == 0 else floor)
        rooms.append(room)
    return Competition(weights, [one.value for one in known["bounds"]], floors, rooms, known["scale"])


def _shares(score: Tensor, floor: float, room: float) -> Tensor:
    """From 0 at the floor to 1 at the best. Overwrites the score."""
    if room < 0:
        return score.zero_()
    return score.sub_(floor).clamp_min_(0).div_(room).clamp_max_(1) if room > 0 else (score >= floor).double()


@method(
    title="PCB-Merging",
    source="arXiv:2410.02396",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("bounds", "cut"),
    direct=_rule,
)
def pcb(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    bounds: Bounds | None = None,
    cut: Bounds | None = None,
    density: Annotated[float, Range(0, 1)] = 0.1,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    outliers: Annotated[float, Range(0, 0.5)] = 1e-4,
    scale: Annotated[float, Range()] = 1.0,
    scope: Literal["model", "tensor"] = "model",
) -> Tensor:
    r"""Let parameters compete: score each by its size in its task and its agreement with the others, average the best.

    .. math::
        \hat\tau_k = \operatorname{sgn}(\tau_k) \operatorname{clip}(|\tau_k|), \quad
        \beta_k = \exp\!\big(K \operatorname{norm}(|\hat\tau_k|)^2\big) \tanh\!\Big(\tau_k \sum_j \tau_j\Big), \quad
        \hat\beta_k = \operatorname{norm}\big(\max(\beta_k, b_k)\big), \\
        \theta = \theta_0 + \lambda\,\frac{\sum_k w_k \hat\beta_k \hat\tau_k}{\sum_k \hat\beta_k}

    with :math:`\tau_k = \theta_k - \theta_0`, :math:`w_k` = ``weight``, :math:`\lambda` = ``scale``, norm the linear
    map of a task's smallest value to 0 and its largest to 1, and :math:`b_k` the score that a share ``density`` of its
    entries reach. Magnitudes are clipped to their quantiles ``outliers`` and 1 - ``outliers``. All of this is over
    the whole model or (``scope``) each tensor by itself.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: the official code of arXiv:2410.02396, with its default share; it finds weights on held-out data, about 1.2.
    Differs: the paper has softmax where the code has exp and tanh (not checked). As in the code the last entry that
        counts gets the weight 0; here ``density: 1`` is the exception and keeps every entry that agrees. Entries that
        go against the sum never count; in the code they may if fewer agree than are wanted. ``scale``, ``outliers``
        and ``scope`` are additions.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: weights are not one per model.

    >>> import torch
    >>> tuned = torch.tensor([[4.0, -1.0, 2.0, 0.5], [2.0, 3.0, -1.0, 0.5], [-1.0, 2.0, 4.0, -0.5]])
    >>> pcb(torch.zeros(4), tuned, density=0.5, outliers=0.0)
    tensor([4., 3., 4., 0.])
    """
    with_base(base, tuned, where="merge/pcb")
    per_model(weight, len(tuned), name="weight")
    params = {"density": density, "outliers": outliers, "scope": scope, "weight": weight, "scale": scale}
    known: dict[str, Any] = {**params, **complete(_stats(params), base, tuned, site, {"bounds": bounds, "cut": cut})}
    limits: Bounds = known["bounds"]
    rule, taus = _rule(known, len(tuned)), _apart(base, tuned)
    total, divisor = torch.zeros_like(taus[0]), torch.zeros_like(taus[0])
    for k, (tau, score) in enumerate(zip(taus, _scores([tau.detach() for tau in taus], limits), strict=True)):
        share = _shares(score, rule.floors[k], rule.rooms[k])
        high, low = rule.bounds[2 * k], rule.bounds[2 * k + 1]
        clipped = tau.sign() * tau.abs().clamp_min(low).clamp_max(high)
        divisor += share
        total += clipped * share.mul_(rule.weights[k])
    merged = total / torch.where(divisor > 0, divisor, 1.0)
    return (base.double() + scale * merged).to(base.dtype)
