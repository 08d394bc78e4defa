"""SWUDI: what gradient descent against interference comes to, in closed form, direction by direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.core.spare import ahead
from ligate.ops.fitting import with_base
from ligate.ops.interference import (
    Interference,
    Start,
    beginning,
    by_inputs,
    few_outputs,
    interference,
    working_squares,
)
from ligate.ops.matrices import averaged, moved, sides, working_bytes
from ligate.ops.spectrum import parts

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-8  # smaller eigenvalues count as this


def _remedy(measure: Interference, start: Start, time: float, share: float) -> Callable[[slice], Tensor]:
    """For some columns, the way to go: half the gradient at the start, turned and stretched along the eigenvectors."""
    count = math.ceil(measure.pair.shape[0] * share - 1e-9)
    if measure.stacks:  # other inputs are in no task: the gradient has no part there
        vectors, gains = _strong(measure.stacked(), count, time)
        turned = (vectors * gains) @ (vectors.T @ measure.pulls)
        return lambda part: measure.stack_times(turned[:, part])
    vectors, gains = _strong(measure.inputs(), count, time)
    stretched = vectors * gains
    inputs, outputs = measure.pair.shape
    if outputs > inputs:
        whole = stretched @ vectors.T
        return lambda part: whole @ measure.slope(part, start)
    return lambda part: stretched @ (vectors.T @ measure.slope(part, start))


def _strong(square: Tensor, count: int, time: float) -> tuple[Tensor, Tensor]:
    """Eigenvectors of so many of the largest eigenvalues, at most all, and how far the flow gets along each."""
    values, vectors = torch.linalg.eigh(square)
    first = max(len(values) - count, 0)
    strong, vectors = values[first:].clamp_min(_LEAST), vectors[:, first:]
    gains = -torch.expm1(-strong * time) / strong
    return vectors * (square.diagonal() > 0)[:, None], gains  # inputs that no task uses stay exactly so


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """Gram matrices of the inputs, or of the task vectors where these are fewer, and an eigendecomposition."""
    first, rest = sides(shape)
    inputs, outputs = (first, rest) if params["inputs"] == "first" else (rest, first)
    few = few_outputs(inputs, outputs)
    decomposed = min(inputs, models * outputs) if few else inputs
    squares = working_squares(inputs, outputs, models) + 8 * decomposed**2
    return working_bytes(shape, params["kernels"], squares / max(min(first, rest), 1) ** 2)


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

    The cost is the eigendecomposition of G, as large as the inputs are many; where all tasks together have fewer
    outputs, of a matrix as large as these: :math:`f(A A^\top) A = A f(A^\top A)`. That is exact.

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
    remedy = _remedy(interference(pair, start), start, time, share)
    return moved(pair, ahead(lambda part: beginning(pair, part, start) - remedy(part), parts(pair.shape)), scale)
