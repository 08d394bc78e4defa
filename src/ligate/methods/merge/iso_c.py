"""Iso-C: the sum of the task vectors with all its singular values made equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from ligate.core.method import Site, Stat, method
from ligate.core.params import Range
from ligate.core.spare import ahead
from ligate.ops.fitting import with_base
from ligate.ops.matrices import Matrices, averaged, matrices, moved, working_bytes
from ligate.ops.notebook import complete
from ligate.ops.spectrum import gram, parts, spectrum

if TYPE_CHECKING:
    from torch import Tensor


class Levelled(NamedTuple):
    """What the sum of the task vectors [m, n] is multiplied with from the left, and what that does."""

    lift: Tensor  # [m, m]
    rank: int
    mean: float  # of the singular values, those that are zero included
    largest: float


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    """One look at the whole tensor finds its spectrum; None for a tensor that is averaged."""

    def observe(state: None, base: Tensor, tuned: Tensor, *, site: Site, **_: Any) -> Levelled | None:
        pair = matrices(base, tuned, site, params["kernels"])
        return None if pair is None else _levelled(pair.lying(), params["flatten"], params["floor"])

    return (Stat("levelled", "tensor", lambda models: None, observe, lambda a, b: b, lambda found: found, _told),)


def _told(found: Levelled | None) -> Mapping[str, Any]:
    return {} if found is None else {"rank": found.rank, "mean": found.mean, "largest": found.largest}


def _levelled(pair: Matrices, flatten: float, floor: float) -> Levelled:
    square = gram(pair.total(part) for part in parts(pair.shape))
    values, vectors, _ = spectrum(square)
    mean = float(values.sum()) / len(square)
    largest = float(values[0]) if len(values) else 0.0
    alive = values > floor * largest
    gains = (1 - flatten) + flatten * mean * alive.to(values) / values
    return Levelled((vectors * gains) @ vectors.T, int(alive.sum()), mean, largest)


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    return working_bytes(shape, params["kernels"], 6)


@method(
    title="Iso-C",
    source="arXiv:2502.04959",
    base="required",
    symmetric=True,
    reach="tensor",
    stats=_stats,
    stat_names=("levelled",),
    scratch=_scratch,
)
def iso_c(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    levelled: Levelled | None = None,
    scale: Annotated[float, Range()] = 1.0,
    flatten: Annotated[float, Range(0, 1)] = 1.0,
    floor: Annotated[float, Range(0, 1)] = 0.0,
    normalize: bool = False,
    kernels: Literal["average", "fold"] = "average",
) -> Tensor:
    r"""Add up the task vectors and replace all singular values of the sum by their mean.

    .. math::
        \sum_k (\theta_k - \theta_0) = U \operatorname{diag}(\sigma) V^\top, \quad
        \theta = \theta_0 + \lambda\, U \operatorname{diag}\big((1 - f)\,\sigma + f\,\bar\sigma\big) V^\top

    with :math:`\lambda` = ``scale`` and f = ``flatten``: 1 is the method, 0 leaves the sum as it is. Singular values
    below ``floor`` times the largest keep only their part of (1 - f): what a low-rank task leaves there is rounding,
    not knowledge. ``normalize`` takes the mean of the task vectors for their sum, so that the scale need not shrink
    as models are added. Vectors and scalars are averaged, and so are tensors of more than two axes, unless
    ``kernels: fold`` takes them for matrices of the first axis by all others.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2502.04959 and its official code; ``flatten``, ``floor``, ``normalize``, ``kernels`` are additions.
    Differs: computed in float64 by way of a Gram matrix; singular values below 1e-6 of the largest (1e-8 in small
        matrices) count as zero in the mean and stay zero, where the official code lifts them, in arbitrary
        directions. It averages matrices named `text_projection`: name them in a recipe. Gradients take the spectrum
        as given.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[3.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    >>> iso_c(torch.zeros(2, 2), tuned)
    tensor([[2., 0.],
            [0., 2.]])
    """
    with_base(base, tuned, where="merge/iso_c")
    pair = matrices(base, tuned, site, kernels)
    if pair is None:
        return averaged(base, tuned, scale)
    pair = pair.lying()
    params = {"flatten": flatten, "floor": floor, "kernels": kernels}
    found: Levelled = complete(_stats(params), base, tuned, site, {"levelled": levelled})["levelled"]
    steps = ahead(lambda part: found.lift @ pair.total(part), parts(pair.shape))
    return moved(pair, steps, scale / len(tuned) if normalize else scale)
