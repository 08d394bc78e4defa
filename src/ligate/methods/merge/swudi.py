"""SWUDI: what gradient descent against interference comes to, in closed form, direction by direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.ops.fitting import with_base
from ligate.ops.interference import beginning, by_inputs, interference
from ligate.ops.matrices import averaged, moved, working_bytes
from ligate.ops.spectrum import parts

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-8  # smaller eigenvalues count as this


def _remedy(square: Tensor, time: float, share: float) -> Tensor:
    """The matrix that turns half the gradient at the start into the way to go, in the strongest directions."""
    values, vectors = torch.linalg.eigh(square)
    count = math.ceil(len(values) * share - 1e-9)
    strong, vectors = values[len(values) - count :].clamp_min(_LEAST), vectors[:, len(values) - count :]
    gains = -torch.expm1(-strong * time) / strong
    vectors = vectors * (square.diagonal() > 0)[:, None]  # inputs that no task uses stay exactly so
    return (vectors * gains) @ vectors.T


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """A Gram matrix of the inputs for each model, and an eigendecomposition."""
    numel = math.prod(shape)
    first = shape[0] if shape else 1
    inputs = first if params["inputs"] == "first" else numel // max(first, 1)
    small = min(first, numel // max(first, 1))
    return working_bytes(shape, params["kernels"], (models + 6) * (inputs / max(small, 1)) ** 2)


@method(
    title="SWUDI",
    source="arXiv:2606.07289",
    base="required",
    symmetric=True,
    reach="tensor",
    scratch=_scratch,
)
def swudi(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    time: Annotated[float, Range(0)] = 300.0,
    share: Annotated[float, Range(0, 1)] = 0.65,
    start: Literal["sum", "mean"] = "sum",
    scale: Annotated[float, Range()] = 1.0,
    inputs: Literal["last", "first"] = "last",
    kernels: Literal["average", "fold"] = "average",
) -> Tensor:
    r"""Go down the gradient flow of WUDI's interference for a set time, in its strongest directions only.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad
        G = \sum_k \frac{\tau_k^\top \tau_k}{\lVert \tau_k \rVert_F^2} = Q \operatorname{diag}(\mu) Q^\top, \quad
        X_0 = \sum_k \tau_k, \\
        X = X_0 - \Big[\sum_k \frac{(X_0 - \tau_k)\,\tau_k^\top \tau_k}{\lVert \tau_k \rVert_F^2}\Big]\,
            Q \operatorname{diag}\Big(\frac{1 - e^{-\mu t}}{\mu}\Big) Q^\top, \quad \theta = \theta_0 + \lambda X

    with t = ``time``, :math:`\lambda` = ``scale`` and the sum in Q only over the largest ``share`` of the eigenvalues:
    along the weak directions the task vectors say little of their inputs. A long time and a ``share`` of 1 give the
    exact minimum, which generalises worse. ``start: mean`` begins at the mean of the task vectors; ``inputs`` says
    which axis the inputs belong to. Vectors and scalars are averaged, and so are tensors of more than two axes, unless
    ``kernels: fold`` takes them for matrices of the first axis by all others.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2606.07289 by way of public code of its method, whose defaults for CLIP these are; that code advises a
        ``share`` of 0.85 for fully fine-tuned language models.
    Differs: the paper itself was not at hand. Computed in float64. The output layer is no exception here: leave it to
        another method in the recipe. ``scale``, ``inputs`` and ``kernels`` are additions. Gradients take the Gram
        matrices as given.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> swudi(torch.zeros(2, 2), tuned, share=1).round(decimals=4) + 0.0
    tensor([[1., 0.],
            [0., 1.]])
    """
    with_base(base, tuned, where="merge/swudi")
    pair = by_inputs(base, tuned, site, kernels, inputs)
    if pair is None:
        return averaged(base, tuned, scale)
    measure = interference(pair)
    remedy = _remedy(measure.total, time, share)

    def found(part: slice) -> Tensor:
        begun = beginning(pair, part, start)
        return begun - remedy @ measure.slope(pair, begun, part)

    return moved(pair, map(found, parts(pair.shape)), scale)
