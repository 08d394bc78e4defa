"""KnOTS: TIES in the coordinates that the task vectors of a matrix share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.core.spare import ahead, side_by_side
from ligate.ops.elect import disjoint_merge, disjoint_rule
from ligate.ops.fitting import with_base
from ligate.ops.matrices import Kernels, Matrices, matrices, moved, working_bytes
from ligate.ops.notebook import complete
from ligate.ops.order import Kth, kth_largest
from ligate.ops.rows import deltas, per_model
from ligate.ops.spectrum import gram, parts, spectrum
from ligate.ops.trim import trims

if TYPE_CHECKING:
    from torch import Tensor


class Basis(NamedTuple):
    """Orthonormal directions [m, r] in which all task vectors [m, n] can be written."""

    vectors: Tensor
    side: int  # m


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """One look at the whole tensor finds the common directions; None for a tensor that is no matrix."""

    def observe(state: None, base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Basis | None:
        pair = _matrices(base, tuned, site, params["shared"], params["kernels"])
        return None if pair is None else _basis(pair)

    return (Stat("basis", "tensor", lambda models: None, observe, lambda a, b: b, lambda found: found, _told),)


def _told(found: Basis | None) -> Mapping[str, Any]:
    return {} if found is None else {"rank": found.vectors.shape[1], "of": found.side}


def _matrices(base: Tensor, tuned: Tensor, site: Site | None, shared: str, kernels: Kernels) -> Matrices | None:
    """Matrices whose rows are what the tasks share."""
    pair = matrices(base, tuned, site, kernels)
    if pair is None or shared == "output":
        return pair
    return pair.turned() if shared == "input" else pair.lying()


def _basis(pair: Matrices) -> Basis:
    """Left singular vectors of all task vectors side by side."""
    side, width = pair.shape
    models = range(len(pair.tuned))
    if side <= width * len(models):
        square = gram(block for k in models for block in pair.blocks(k))
        return Basis(spectrum(square).vectors, side)
    beside = torch.cat([pair.task(k, slice(None)) for k in models], dim=1)  # few columns: their Gram matrix is smaller
    values, right, _ = spectrum(beside.T @ beside)
    return Basis(beside @ (right / values), side)


def _coordinates(pair: Matrices, vectors: Tensor) -> Tensor:
    """Each task vector in the common directions: [K, r n], in the dtype of the models."""
    rank, (_, width) = vectors.shape[1], pair.shape
    found = pair.tuned.new_empty(len(pair.tuned), rank, width)

    def write(at: tuple[int, slice]) -> None:
        k, part = at
        found[k, :, part] = vectors.T @ pair.task(k, part)

    side_by_side(write, product(range(len(found)), parts(pair.shape)))
    return found.view(len(found), -1)


def _ties(rows: Tensor, densities: Sequence[float], weights: Sequence[float]) -> Tensor:
    """Trim, elect, average what agrees; where nothing is left or signs cancel out, nothing."""
    thresholds: Sequence[Kth] | None = None
    if trims(densities):
        stat = kth_largest("threshold", "tensor", densities, lambda base, tuned, **_: tuned)
        thresholds = complete((stat,), None, rows, None, {})["threshold"]
    rule = disjoint_rule(
        thresholds=thresholds,
        gains=weights,
        weights=weights,
        tie="zero",
        majority=None,
        normalize=True,
        scale=1.0,
    )
    return disjoint_merge(torch.zeros_like(rows[0]), rows, rule, models=False)


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """Squares of the shared side, or what all task vectors are side by side; and their coordinates."""
    numel = math.prod(shape)
    small = min(shape[0], numel // max(shape[0], 1)) if len(shape) > 1 else 1
    large = numel // max(small, 1)
    tall = {"output": shape[:1] == (large,), "input": shape[:1] == (small,), "smaller": False}[params["shared"]]
    side = min(large, models * small) if tall else small
    return working_bytes(shape, params["kernels"], 6 * (side / max(small, 1)) ** 2) + 8 * (3 * models + 2) * numel


@method(
    title="KnOTS",
    source="arXiv:2410.19735",
    base="required",
    symmetric=True,
    reach="tensor",
    stats=_stats,
    stat_names=("basis",),
    scratch=_scratch,
)
def knots(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    basis: Basis | None = None,
    density: Annotated[float | Sequence[float], Range(0, 1), PerModel()] = 0.2,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    shared: Literal["output", "input", "smaller"] = "output",
    kernels: Literal["average", "fold"] = "average",
) -> Tensor:
    r"""Write all task vectors in the directions they share, do TIES on the coordinates, and go back.

    .. math::
        [\tau_1 \dots \tau_K] = U \Sigma\, [V_1^\top \dots V_K^\top], \quad
        \theta = \theta_0 + \lambda\, U \operatorname{TIES}_{d,\,w}(\Sigma V_1^\top, \dots, \Sigma V_K^\top)

    with :math:`\tau_k = \theta_k - \theta_0`, d = ``density``, w = ``weight`` and :math:`\lambda` = ``scale``. Each
    :math:`\Sigma V_k^\top` is trimmed to its largest entries, the sign of the larger mass is elected for each
    coordinate (a sum of exactly zero elects none), and the entries that have it are averaged. ``shared`` says which
    side's directions are common: those of the output, as in the paper, of the input, or of the smaller side, which is
    faster for matrices much taller than wide. Vectors and scalars are merged by TIES as they are, and so are tensors
    of more than two axes, unless ``kernels: fold`` takes them for matrices of the first axis by all others.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2410.19735 and its official code; weights per model and ``shared: smaller`` are additions.
    Differs: the official code merges low-rank adapters, trims over all layers together and scales by 0.6; here each
        tensor is trimmed by itself, and any fine-tuned matrix will do. It keeps singular values above 1e-5, here above
        1e-6 of the largest (1e-8 in small matrices), found in float64 by way of a Gram matrix. Like TIES it keeps
        one entry more. Where singular values repeat, the coordinates and hence the trim are arbitrary, in both.
        Gradients take the directions as given.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: densities or weights are not one per model.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    >>> knots(torch.zeros(2, 2), tuned, density=0.5)
    tensor([[1., 1.],
            [0., 0.]])
    """
    with_base(base, tuned, where="merge/knots")
    densities = per_model(density, len(tuned), name="density")
    weights = per_model(weight, len(tuned), name="weight")
    pair = _matrices(base, tuned, site, shared, kernels)
    if pair is None:
        rows = torch.stack([row.reshape(-1).clone() for row in deltas(base, tuned)])
        return base + scale * _ties(rows, densities, weights).view(base.shape)
    known = complete(_stats({"shared": shared, "kernels": kernels}), base, tuned, site, {"basis": basis})
    vectors: Tensor = known["basis"].vectors
    if not vectors.shape[1]:
        return base.clone()
    merged = _ties(_coordinates(pair, vectors), densities, weights).view(vectors.shape[1], -1)
    return moved(pair, ahead(lambda part: vectors @ merged[:, part].double(), parts(pair.shape)), scale)
