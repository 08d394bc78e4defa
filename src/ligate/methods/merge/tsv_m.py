"""TSV-Merge: the strongest singular directions of every task, made orthogonal to those of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.core.spare import ahead
from ligate.ops.directions import Directions, found_once
from ligate.ops.fitting import with_base
from ligate.ops.matrices import averaged, matrices, moved, working_bytes
from ligate.ops.notebook import complete
from ligate.ops.rows import per_model
from ligate.ops.spectrum import parts

if TYPE_CHECKING:
    from torch import Tensor


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    return (found_once(params["share"], params["kernels"]),)


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """Gram matrix, decomposition and vectors; those of all directions together where they outnumber the side."""
    share = 1 / models if params["share"] is None else params["share"]
    ratio = max(share * models, 1 / max(min(shape, default=1), 1))  # directions to the smaller side
    return working_bytes(shape, params["kernels"], 4 + 3 * ratio + 7 * max(ratio, 1) ** 2)


@method(
    title="TSV-Merge",
    source="arXiv:2412.00081",
    base="required",
    symmetric=True,
    reach="tensor",
    stats=_stats,
    stat_names=("directions",),
    scratch=_scratch,
)
def tsv_m(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    directions: Directions | None = None,
    weight: Annotated[float | Sequence[float], Range(), PerModel()] = 1.0,
    scale: Annotated[float, Range()] = 1.0,
    share: Annotated[float | None, Range(0, 1)] = None,
    kernels: Literal["average", "fold"] = "average",
) -> Tensor:
    r"""Keep each task's strongest singular directions, make all of them orthogonal, and add them up.

    .. math::
        \tau_k = \theta_k - \theta_0 \approx U_k \Sigma_k V_k^\top \ (r \text{ largest}), \quad
        U = [U_1 \dots U_K],\ V = [V_1 \dots V_K],\ \Sigma = \operatorname{diag}(\Sigma_1 \dots \Sigma_K), \\
        \theta = \theta_0 + \lambda\, U (U^\top U)^{-1/2}\, W \Sigma\, (V^\top V)^{-1/2} V^\top

    with :math:`\lambda` = ``scale``, W the ``weight`` of each direction's task, and r = ``share`` times the smaller
    side of the matrix, rounded down but at least one; without a ``share`` it is 1/K. Vectors and scalars are averaged,
    each times its weight, and so are tensors of more than two axes, unless ``kernels: fold`` takes them for matrices of
    the first axis by all others.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2412.00081 and its official code (r, averages); ``weight`` and ``kernels: fold`` are additions.
    Differs: computed in float64 by way of Gram matrices; singular values below 1e-6 of the largest (1e-8 in small
        matrices) count as zero. Where tasks share directions exactly, the inverse roots are pseudo-inverses; the
        official code fills such gaps with arbitrary directions. With more models than the smaller side it keeps
        nothing, here each keeps one direction. It averages matrices named `text_projection`: name them in a recipe.
        Gradients take the directions as given.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    >>> tsv_m(torch.zeros(2, 2), tuned).round(decimals=4) + 0.0
    tensor([[2., 0.],
            [0., 2.]])
    """
    with_base(base, tuned, where="merge/tsv_m")
    weights = per_model(weight, len(tuned), name="weight")
    pair = matrices(base, tuned, site, kernels)
    if pair is None:
        return averaged(base, tuned, scale, weights)
    pair = pair.lying()
    known = complete(_stats({"share": share, "kernels": kernels}), base, tuned, site, {"directions": directions})
    found: Directions = known["directions"]
    mix = found.mix(weights)
    return moved(pair, ahead(lambda part: mix @ found.right(pair, part), parts(pair.shape)), scale)
