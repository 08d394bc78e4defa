"""OPCM: merge models one after the other, each one's task vector projected away from what is merged already."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.matrices import Matrices, matrices, moved, working_bytes
from ligate.ops.spectrum import gram, parts, spectrum

if TYPE_CHECKING:
    from torch import Tensor


class _Progress:
    """What is merged so far, and how long it is to be: as long as the task vectors are on average."""

    def __init__(self, first: Tensor) -> None:
        self.merged = first
        self.grown = 1.0  # how much longer the sum of all steps would be
        self._lengths = [_length(first)]

    def add(self, longer: Tensor, seen: float) -> None:
        """`longer`: the steps so far at their full length, and the new one; `seen`: the length of the task vector."""
        self._lengths.append(seen)
        length, wanted = _length(longer), math.fsum(self._lengths) / len(self._lengths)
        self.grown = length / wanted if wanted > 0 else 1.0
        self.merged = longer / self.grown if self.grown > 0 else longer


def _length(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix.detach()))


def _kept(merged: Tensor, pair: Matrices, model: int, alpha: float, rank: str) -> Tensor:
    """The matrix that, times what is merged, is the part of a task vector that must go."""
    merged = merged.detach()
    values, vectors, _ = spectrum(gram(merged[:, part] for part in parts(pair.shape)))
    across = merged.new_zeros(len(merged), len(merged))
    for part in parts(pair.shape):
        across.addmm_(pair.task(model, part).detach(), merged[:, part].T)
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
    scratch=_scratch,
)
def opcm(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    alpha: Annotated[float, Range(0, 1)] = 0.5,
    rank: Literal["within", "beyond"] = "within",
    scale: Annotated[float, Range()] = 1.0,
    kernels: Literal["average", "fold"] = "average",
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
    pair = matrices(base, tuned, site, kernels)
    projects = pair is not None
    if pair is None:
        pair = Matrices(base.reshape(1, -1), tuned.reshape(len(tuned), 1, -1), tuple(base.shape))
    pair = pair.lying()
    progress = _Progress(_whole(pair, 0))
    for model in range(1, len(tuned)):
        _continue(progress, pair, model, _kept(progress.merged, pair, model, alpha, rank) if projects else None)
    return moved(pair, (progress.merged[:, part] for part in parts(pair.shape)), scale)


def _whole(pair: Matrices, model: int) -> Tensor:
    whole = torch.empty(pair.shape, dtype=torch.float64, device=pair.base.device)
    for part in parts(pair.shape):
        whole[:, part] = pair.task(model, part)
    return whole


def _continue(progress: _Progress, pair: Matrices, model: int, kept: Tensor | None) -> None:
    """Add a task vector, less `kept` times what is merged."""
    longer, squares = torch.empty_like(progress.merged), 0.0
    for part in parts(pair.shape):
        task, merged = pair.task(model, part), progress.merged[:, part]
        squares += _length(task) ** 2
        longer[:, part] = progress.grown * merged + task - (kept @ merged if kept is not None else 0.0)
    progress.add(longer, math.sqrt(squares))
