"""SCE: select where the models differ most, weigh each by its energy there, erase what has the minority's sign."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch

from ligate.core import kernels
from ligate.core.direct import ElectedMean, Stored
from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.ops.before import Before, straight
from ligate.ops.fitting import with_base
from ligate.ops.notebook import complete
from ligate.ops.order import Kth, Pieces, kth_largest
from ligate.ops.trim import trims

if TYPE_CHECKING:
    from torch import Tensor

_Energy = tuple[Sequence[float], int]  # per model the sum of the squares, and over how many entries


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The least spread that is selected, unless all is; then each model's energy in what is."""
    stats: list[Stat] = []
    if trims(params["density"]):
        search = kth_largest(
            "threshold",
            "tensor",
            params["density"],
            _spreads,
            rank=_floor,
            stored=_stored_spreads,
        )
        stats.append(search._replace(init=lambda models: search.init(1)))
    stats.append(_energies())
    return stats


def _floor(share: float, numel: int) -> int:
    return int(share * numel)


def _spreads(base: Tensor, tuned: Tensor, **_: Any) -> Iterator[Tensor]:
    """Those that are not zero, as one row."""
    yield _varied(_spread(tuned))


def _stored_spreads(stored: Stored, **_: Any) -> Sequence[Pieces]:
    return [Pieces([_varied(piece) for piece in stored.spreads()])]


def _varied(spread: Any) -> Any:
    varied = spread > 0
    return spread if varied.all() else spread[varied]


def _spread(tuned: Tensor) -> Tensor:
    """The variance over the models times the square of their number; the same for their differences from the base.

    Counted from the first model it is exactly zero where all are equal, never the difference of two close numbers,
    and for most 16-bit numbers without any rounding.
    """
    first = tuned[0].double()
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for model in tuned[1:]:
        apart = torch.sub(model, first)
        total += apart
        squares += apart.square_()
    return squares.mul_(len(tuned)).sub_(total.square_())


def _selected(base: Tensor, tuned: Tensor, *, threshold: Sequence[Kth] | None = None, **_: Any) -> Tensor:
    """The models, all equal to the base where they do not differ enough."""
    if threshold is None:
        return tuned
    return torch.where(_spread(tuned.detach()) < threshold[0].value, base, tuned)


def _select(stored: Stored, *, threshold: Sequence[Kth] | None = None, **_: Any) -> None:
    if threshold is not None:
        stored.select(threshold[0].value)


_SELECTED = Before(_selected, _select)


def _energies() -> Stat:
    """Each model's mean square of what is selected of its change."""

    def observe(state: _Energy, base: Tensor, tuned: Tensor, *, site: Site, **earlier: Any) -> _Energy:
        start, models = base.double(), _selected(base, tuned, **earlier)
        taus = [torch.sub(model, start).reshape(-1) for model in models.detach()]
        return _added(state, ([kernels.dot(tau, tau) for tau in taus], base.numel()))

    def direct(state: _Energy, stored: Stored, *, site: Site, **earlier: Any) -> _Energy:
        _select(stored, **earlier)
        return _added(state, (stored.energies(), stored.n))

    return Stat(
        name="energy",
        scope="tensor",
        init=lambda models: ([0.0] * models, 0),
        observe=observe,
        merge=_added,
        finish=lambda state: tuple(energy / max(state[1], 1) for energy in state[0]),
        report=lambda energy: {"energy": list(energy)},
        direct=direct,
    )


def _added(a: _Energy, b: _Energy) -> _Energy:
    return [x + y for x, y in zip(a[0], b[0], strict=True)], a[1] + b[1]


def _weights(energy: Sequence[float], least: float) -> list[float]:
    total = math.fsum(energy)
    if not 0 < total < math.inf or total < least:
        return [1 / len(energy)] * len(energy)
    return [one / total for one in energy]


def _rule(known: Mapping[str, Any], models: int) -> ElectedMean:
    """Of parameters and statistics."""
    return ElectedMean(_weights(known["energy"], known["least_energy"]))


@method(
    title="SCE",
    source="arXiv:2408.07990",
    base="required",
    models=(2, None),
    symmetric=True,
    stats=_stats,
    stat_names=("threshold", "energy"),
    direct=straight(lambda known: _SELECTED, _rule),
)
def sce(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    threshold: Sequence[Kth] | None = None,
    energy: Sequence[float] | None = None,
    density: Annotated[float, Range(0, 1)] = 0.1,
    least_energy: Annotated[float, Range(0)] = 0.0,
) -> Tensor:
    r"""Select the coordinates where the models differ most, weigh the models by their energy, keep the majority's sign.

    .. math::
        \hat\tau_k = \tau_k\,[\operatorname{var}_k \tau_k \ge v], \quad w_k \propto \sum_j \hat\tau_{kj}^2, \quad
        s = \operatorname{sgn} \sum_k \hat\tau_k, \quad
        \theta = \theta_0 + \frac{\sum_k w_k \hat\tau_k\,[\operatorname{sgn}\hat\tau_k = s]}
                                 {\sum_k w_k\,[\operatorname{sgn}\hat\tau_k = s]}

    with :math:`\tau_k = \theta_k - \theta_0` and v the :math:`\lfloor d n\rfloor`-th largest of the n variances of this
    tensor that are not zero, :math:`d` = ``density``; every coordinate of variance v is selected. The weights add up to
    1; they are equal where no model changed, and where the mean of the squares of a tensor, summed over the models, is
    below ``least_energy``. A sum of zero counts as positive.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, at least 2, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2408.07990 and its official code; the default is that of its published configuration.
    Differs: mergekit selects everything unless asked to, and weighs the models equally where the mean squares are tiny
        (``density: 1``, ``least_energy: 1e-6``); it also divides by 1e-6 where the weights that agree are less.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: there is only one model: nothing varies.

    >>> import torch
    >>> tuned = torch.tensor([[4.0, -1.0, 2.0, 0.5], [2.0, 3.0, -1.0, 0.5], [-1.0, 2.0, 4.0, -0.5]])
    >>> sce(torch.zeros(4), tuned, density=0.5)
    tensor([3.6000, 0.0000, 2.9189, 0.0000])
    """
    with_base(base, tuned, where="merge/sce", fewest=2)
    known = complete(_stats({"density": density}), base, tuned, site, {"threshold": threshold, "energy": energy})
    start, models = base.double(), _selected(base, tuned, threshold=known["threshold"])
    taus = [torch.sub(model, start) for model in models]
    elected = 2 * (sum(tau.detach() for tau in taus) >= 0).double() - 1  # type: ignore[union-attr]
    total = divisor = torch.zeros_like(elected)
    for tau, weight in zip(taus, _weights(known["energy"], least_energy), strict=True):
        agrees = (tau * elected).clamp_min(0)
        total, divisor = total + agrees * weight, divisor + agrees.detach().sign() * weight
    merged = elected * total / torch.where(divisor > 0, divisor, 1.0)
    return (start + merged).to(base.dtype)
