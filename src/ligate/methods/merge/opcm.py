"""OPCM: merge models one after the other, each one's task vector projected away from what is merged already."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.core.spare import side_by_side
from ligate.ops.fitting import with_base
from ligate.ops.matrices import Matrices, matrices, moved, working_bytes
from ligate.ops.spectrum import gram, parts, spectrum

if TYPE_CHECKING:
    from torch import Tensor


class _Progress:
    """What is merged so far, and how long it is to be: as long as the task vectors are on average."""

    def __init__(self, first: Tensor, grown: float = 1.0, models: int = 1, length: float = 0.0) -> None:
        self.merged = first
        self.grown = grown  # how much longer the sum of all steps would be
        self.models = models
        self.lengths = models * length if length else models * _length(first)  # of all task vectors together

    @property
    def length(self) -> float:
        return self.lengths / self.models

    def add(self, longer: Tensor, seen: float) -> None:
        """`longer`: the steps so far at their full length, and the new one; `seen`: the length of the task vector."""
        self.lengths, self.models = self.lengths + seen, self.models + 1
        self.grown = _length(longer) / self.length if self.length > 0 else 1.0
        self.merged = longer / self.grown if self.grown > 0 else longer


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """The merge itself, so that its numbers are recorded with which it can be continued."""

    def observe(state: None, base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> _Progress:
        return _merged(base, tuned, site, params)

    def report(found: _Progress) -> Mapping[str, Any]:
        return {"grown": found.grown, "seen": found.models, "length": found.length}

    return (Stat("progress", "tensor", lambda models: None, observe, lambda a, b: a or b, lambda one: one, report),)


def _length(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix.detach()))


def _kept(merged: Tensor, pair: Matrices, model: int, alpha: float, rank: str) -> Tensor:
    """The matrix that, times what is merged, is the part of a task vector that must go."""
    merged = merged.detach()

    def directions() -> tuple[Tensor, Tensor]:
        values, vectors, _ = spectrum(gram(merged[:, part] for part in parts(pair.shape)))
        return values, vectors

    def products() -> tuple[Tensor]:
        across = merged.new_zeros(len(merged), len(merged))
        for part in parts(pair.shape):
            across.addmm_(pair.task(model, part).detach(), merged[:, part].T)
        return (across,)

    values, vectors, across = chain(*side_by_side(lambda work: work(), (directions, products)))
    coordinates = vectors.T @ across @ vectors / values
    block = _block(values, alpha, rank)
    gone = torch.diag(coordinates.diagonal())
    gone[:block, :block] = coordinates[:block, :block]
    return vectors @ (gone / values) @ vectors.T


def _block(values: Tensor, alpha: float, rank: str) -> int:
    """How many of the largest singular values have a share of alpha in their sum."""
    if not len(values):
        return 0
    within = int((values.cumsum(0) <= alpha * values.sum()).sum())
    return min(within + (rank == "beyond"), len(values))


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """What is merged, before and after, and a decomposition."""
    return working_bytes(shape, params["kernels"], 9) + 8 * 3 * math.prod(shape)


@method(
    title="OPCM",
    source="arXiv:2501.09522",
    base="required",
    reach="tensor",
    stats=_stats,
    stat_names=("progress",),
    scratch=_scratch,
)
def opcm(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    progress: _Progress | None = None,
    alpha: Annotated[float, Range(0, 1)] = 0.5,
    rank: Literal["within", "beyond"] = "within",
    scale: Annotated[float, Range()] = 1.0,
    kernels: Literal["average", "fold"] = "average",
    grown: Annotated[float, Range(0)] = 1.0,
    seen: Annotated[int, Range(1)] = 1,
    length: Annotated[float, Range(0)] = 0.0,
) -> Tensor:
    r"""Merge one model after the other: remove from each task vector what lies along the merged one, then rescale.

    .. math::
        \Delta_1 = \tau_1, \ \lambda_1 = 1; \quad
        \Delta_{t-1} = U \Sigma V^\top, \quad P = U^\top \tau_t V, \quad
        \tilde\tau_t = \tau_t - U \big(P \circ [\,i = j \text{ or } i, j \le r\,]\big) V^\top, \\
        \lambda_t = \frac{\lVert \lambda_{t-1} \Delta_{t-1} + \tilde\tau_t \rVert}
                         {\operatorname{mean}_{s \le t} \lVert \tau_s \rVert}, \quad
        \Delta_t = \frac{\lambda_{t-1} \Delta_{t-1} + \tilde\tau_t}{\lambda_t}, \quad
        \theta = \theta_0 + \lambda\, \Delta_K

    with :math:`\tau_k = \theta_k - \theta_0` and :math:`\lambda` = ``scale``. The r largest singular values are those
    whose sum stays within a share ``alpha`` of all (``rank: within``), or goes just beyond it. The order of the models
    matters. Vectors and scalars are added without a projection, and so are tensors of more than two axes, unless
    ``kernels: fold`` takes them for matrices of the first axis by all others.

    To continue later: the first model is an earlier result of ``scale`` 1 from the same base, ``seen`` the number of
    models in it, ``grown`` its :math:`\lambda_t` and ``length`` the mean length of their task vectors (0: the first
    model's own). All three stand in the result's record for each tensor; `ligate extend` takes them from there.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2501.09522 and its public implementation in FusionBench, which has ``rank: within`` although it
        describes ``beyond``.
    Differs: lengths are those of the tensor, there those of the whole model: what one tensor gains here another need
        not lose. All models are at hand at once: this is the method's result, not its memory. With ``alpha: 1`` all
        directions are removed; there none. Directions of no length in what is merged are left alone; there the
        diagonal of an arbitrary basis of them is removed. ``scale`` and ``kernels`` are additions. Gradients take
        projections and lengths as given.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[3.0, 0.0], [0.0, 1.0]], [[5.0, 2.0], [3.0, 4.0]]])
    >>> opcm(torch.zeros(2, 2), tuned).round(decimals=3) + 0.0
    tensor([[3.2870, 2.1920],
            [3.2870, 1.0960]])
    """
    with_base(base, tuned, where="merge/opcm")
    params = {
        "alpha": alpha, "rank": rank, "kernels": kernels, "grown": grown, "seen": seen, "length": length
    }  # fmt: skip
    merged = (progress or _merged(base, tuned, site, params)).merged
    pair, _ = _pair(base, tuned, site, kernels)
    return moved(pair, (merged[:, part] for part in parts(pair.shape)), scale)


def _pair(base: Tensor, tuned: Tensor, site: Site | None, kernels: Literal["average", "fold"]) -> tuple[Matrices, bool]:
    """The task vectors, and whether they have directions. What is no matrix has one row."""
    pair = matrices(base, tuned, site, kernels)
    row = pair or Matrices(base.reshape(1, -1), tuned.reshape(len(tuned), 1, -1), tuple(base.shape))
    return row.lying(), pair is not None


def _merged(base: Tensor, tuned: Tensor, site: Site | None, params: Mapping[str, Any]) -> _Progress:
    """Each model in turn."""
    pair, projects = _pair(base, tuned, site, params["kernels"])
    progress = _Progress(_whole(pair, 0), params["grown"], params["seen"], params["length"])
    for model in range(1, len(tuned)):
        gone = _kept(progress.merged, pair, model, params["alpha"], params["rank"]) if projects else None
        _continue(progress, pair, model, gone)
    return progress


def _whole(pair: Matrices, model: int) -> Tensor:
    whole = torch.empty(pair.shape, dtype=torch.float64, device=pair.base.device)
    for part in parts(pair.shape):
        whole[:, part] = pair.task(model, part)
    return whole


def _continue(progress: _Progress, pair: Matrices, model: int, kept: Tensor | None) -> None:
    """Add a task vector, less `kept` times what is merged."""
    longer = torch.empty_like(progress.merged)

    def square(part: slice) -> float:
        task, merged = pair.task(model, part), progress.merged[:, part]
        longer[:, part] = progress.grown * merged + task - (kept @ merged if kept is not None else 0.0)
        return _length(task) ** 2

    progress.add(longer, math.sqrt(math.fsum(side_by_side(square, parts(pair.shape)))))
