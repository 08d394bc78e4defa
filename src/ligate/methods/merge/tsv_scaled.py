"""TSV-Merge, number by number: each number of a task's step counts as much as somebody has learned or chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch

from ligate.core.errors import InputError
from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.directions import Directions, found_once
from ligate.ops.fitting import with_base
from ligate.ops.matrices import matrices, moved, working_bytes
from ligate.ops.notebook import complete
from ligate.ops.rows import deltas, per_model
from ligate.ops.spectrum import parts

if TYPE_CHECKING:
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    return (found_once(params["share"], "average"),)


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """What TSV-Merge takes; a tensor that is averaged is in float64."""
    share = 1 / models if params["share"] is None else params["share"]
    ratio = max(share * models, 1 / max(min(shape, default=1), 1))
    averaged = 0 if len(shape) == 2 else 32 * math.prod(shape)
    return averaged + working_bytes(shape, "average", 4 + (3 + models) * ratio + 8 * max(ratio, 1) ** 2)


@method(
    title="Scaled TSV-Merge",
    source="practice",
    base="required",
    symmetric=True,
    reach="tensor",
    stats=_stats,
    stat_names=("directions",),
    scratch=_scratch,
    measured={"factor": "model"},
)
def tsv_scaled(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    directions: Directions | None = None,
    factor: Tensor | Sequence[Tensor] | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    share: Annotated[float | None, Range(0, 1)] = None,
) -> Tensor:
    r"""Add the steps of TSV-Merge to the base, each number times a factor of its own.

    .. math::
        \theta = \theta_0 + \sum_k w_k f_k \odot s_k

    with :math:`s_k` the step of task k, so that :math:`\theta_0 + \sum_k s_k` is what `merge/tsv_m` makes of the same
    models, :math:`w_k` = ``weight``, and :math:`f_k` = ``factor``, for each model a tensor of the weight's name and
    shape. Learned merges of TSV-Merge's steps come to this rule where one weight for each tensor does not say them.
    Tensors without a factor are added whole. ``share`` is that of `merge/tsv_m`.

    Shapes: ``base`` [*S]; ``tuned`` and ``factor`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: steps of TSV-Merge (arXiv:2412.00081).
    Differs: the factors are an addition; what else differs from the official code is said at `merge/tsv_m`.

    Raises:
        InputError: there is no base, or ``tuned[0]`` or a factor differs from it in shape.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]])
    >>> tsv_scaled(torch.zeros(2, 2), tuned, factor=torch.tensor([[[1.0, 1.0]] * 2, [[1.0, 1.0], [1.0, 0.5]]])) + 0.0
    tensor([[2., 0.],
            [0., 2.]])
    """
    with_base(base, tuned, where="merge/tsv_scaled")
    weights = per_model(weight, len(tuned), name="weight")
    pair = matrices(base, tuned, site, "average")
    _require_factors(factor, base)
    if pair is None:
        total = torch.zeros_like(base, dtype=torch.float64)
        for k, delta in enumerate(deltas(base, tuned)):
            part = delta.double() * (weights[k] / len(tuned))
            total += part if factor is None else part * factor[k].reshape(base.shape)
        return (base.double() + total).to(base.dtype)
    shape, pair = pair.shape, pair.lying()
    factors = None if factor is None else [one.reshape(shape) for one in factor]
    if factors is not None and pair.over:
        factors = [one.mT for one in factors]
    known = complete(_stats({"share": share}), base, tuned, site, {"directions": directions})
    found: Directions = known["directions"]
    own = [found.mix([weight * (one == k) for one in range(len(weights))]) for k, weight in enumerate(weights)]
    return moved(pair, (_step(own, found.right(pair, part), part, factors) for part in parts(pair.shape)), 1.0)


def _require_factors(factor: Tensor | Sequence[Tensor] | None, base: Tensor) -> None:
    for k, one in enumerate(() if factor is None else factor):
        if one.numel() != base.numel():
            text = f"the factor of model {k} is {list(one.shape)}, the weight {list(base.shape)}"
            raise InputError(text, where="merge/tsv_scaled", hint="give a factor for each number of the weight.")


def _step(own: Sequence[Tensor], right: Tensor, part: slice, factors: Sequence[Tensor] | None) -> Tensor:
    """Columns of the sum of all steps; `own` makes each task's step of `right`."""
    total = right.new_zeros(len(own[0]), right.shape[1])
    for k, mix in enumerate(own):
        step = mix @ right
        total += step if factors is None else step * factors[k][:, part]
    return total
