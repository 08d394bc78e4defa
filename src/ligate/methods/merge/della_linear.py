"""DELLA before a weighted sum: drop small entries of the task vectors more often than large ones, add the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core import kernels
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.fitting import gained, with_base
from ligate.ops.magprune import check_chances, drop_stats, kept_rows, ranges
from ligate.ops.notebook import complete
from ligate.ops.rows import check_weights, per_model, total_weight

if TYPE_CHECKING:
    from torch import Tensor


def _check(params: Mapping[str, Any]) -> None:
    check_chances(params)
    check_weights(params)


@method(
    title="DELLA, linear",
    source="arXiv:2406.11617",
    base="required",
    symmetric=True,
    reach="row",
    stats=drop_stats,
    stat_names=("gain",),
    check=_check,
)
def della_linear(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    gain: Sequence[float] | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.7,
    epsilon: Annotated[float | Sequence[float], Range(0), PerModel()] = 0.07,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    normalize: bool = False,
    rescale: Literal["inverse_prob", "l1", "none"] = "inverse_prob",
) -> Tensor:
    r"""Keep large entries of each row of a task vector more often than small ones, add the weighted sum of the rest.

    .. math::
        \pi_{kj} = d_k - \epsilon_k + 2 \epsilon_k \frac{r_{kj} - 1}{C - 1}, \quad
        \tilde\tau_{kj} = \frac{m_{kj}\,\tau_{kj}}{\pi_{kj}}, \quad m_{kj} \sim \mathrm{Bernoulli}(\pi_{kj}), \quad
        \theta = \theta_0 + \lambda \sum_k w_k \tilde\tau_k

    with :math:`\tau_k = \theta_k - \theta_0`; :math:`r_{kj}` the rank of :math:`|\tau_{kj}|` among the C entries of its
    row (the last axis), 1 for the smallest; :math:`d_k` = ``density``, :math:`\epsilon_k` = ``epsilon``, :math:`w_k` =
    ``weight``, divided by their sum if ``normalize``, :math:`\lambda` = ``scale``. Equal magnitudes rank in their
    order. In rows of one entry every probability is the density, and so they are at density 0 and 1. The masks depend
    on the seed, the tensor's name and the model's label alone, never on what else is merged.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: MagPrune of arXiv:2406.11617 with its official code's example, a drop rate of 0.3 and a window of 0.14.
    Differs: without DELLA's election of signs, which merge/della has. ``rescale: l1`` is mergekit's meaning: one factor
        that restores each task vector's L1 norm in this tensor, in place of each entry's 1/π.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: no ``site`` to draw from; probabilities outside 0 and 1; weights that sum to zero are to be
            normalised; not one value per model.

    >>> import torch
    >>> from ligate.ops.notebook import site
    >>> place = site("w", (4,), ["math"], seed=10)  # its noise drops the last entry alone
    >>> della_linear(torch.zeros(4), torch.tensor([[0.1, -0.4, 0.2, 0.3]]), site=place, density=0.5, epsilon=0.1)
    tensor([ 0.2500, -0.6667,  0.4286,  0.0000])
    """
    with_base(base, tuned, where="merge/della_linear")
    params = {"density": density, "epsilon": epsilon, "rescale": rescale}
    ranges(params, len(tuned))
    weights = per_model(weight, len(tuned), name="weight")
    factor = scale / total_weight(weights, normalize=normalize)
    known = complete(drop_stats(params), base, tuned, site, {"gain": gain})
    rows = torch.stack([row.reshape(-1).double() for row in kept_rows(params, base, tuned, site=site)])
    merged = kernels.add_weighted(base.reshape(-1).double(), rows, gained(weights, known["gain"]), factor, models=False)
    return merged.to(base.dtype).view(base.shape)
