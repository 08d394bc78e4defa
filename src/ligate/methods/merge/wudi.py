"""WUDI: move the sum of the task vectors to where it disturbs none of them, by gradient descent without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core.method import Site, method
from ligate.core.params import Range
from ligate.core.spare import ahead
from ligate.ops.fitting import with_base
from ligate.ops.interference import beginning, by_inputs, interference, working_squares
from ligate.ops.matrices import averaged, moved, sides, working_bytes
from ligate.ops.spectrum import AT_ONCE, parts

if TYPE_CHECKING:
    from torch import Tensor

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8  # Adam's decay rates, and what keeps it from dividing by zero


def _descended(square: Tensor, slope: Tensor, steps: int, rate: float) -> Tensor:
    """How far Adam goes down a quadratic function of which half the gradient at d is slope + square d."""
    way, mean, spread = torch.zeros_like(slope), torch.zeros_like(slope), torch.zeros_like(slope)
    for step in range(1, steps + 1):
        gradient = torch.addmm(slope, square, way).mul_(2)
        mean.mul_(_FIRST).add_(gradient.mul(1 - _FIRST))
        spread.mul_(_SECOND).add_(gradient.square_().mul_(1 - _SECOND))
        size = (spread / (1 - _SECOND**step)).sqrt_().add_(_TINY)
        way.sub_((mean * (rate / (1 - _FIRST**step))).div_(size))
    return way


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """Gram matrices of the inputs and those behind the slope, and Adam's memory for some columns, twice."""
    first, rest = sides(shape)
    inputs, outputs = (first, rest) if params["inputs"] == "first" else (rest, first)
    squares = working_squares(inputs, outputs, models) + 3 * inputs**2
    adam = 8 * 10 * min(first * rest, AT_ONCE)
    return working_bytes(shape, params["kernels"], squares / max(min(first, rest), 1) ** 2) + adam


@method(
    title="WUDI",
    source="arXiv:2503.08099",
    base="required",
    symmetric=True,
    reach="tensor",
    scratch=_scratch,
)
def wudi(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    steps: Annotated[int, Range(0)] = 300,
    rate: Annotated[float, Range(0)] = 1e-5,
    start: Literal["sum", "mean"] = "sum",
    scale: Annotated[float, Range()] = 1.0,
    inputs: Literal["last", "first"] = "last",
    kernels: Literal["average", "fold"] = "average",
) -> Tensor:
    r"""Start from the sum of the task vectors and take steps of Adam against their interference.

    .. math::
        \tau_k = \theta_k - \theta_0, \quad
        L(X) = \sum_k \frac{\lVert (X - \tau_k)\,\tau_k^\top \rVert_F^2}{\lVert \tau_k \rVert_F^2}, \quad
        X_0 = \sum_k \tau_k, \\
        X_{t+1} = X_t - \eta \operatorname{Adam}(\nabla L(X_t)), \quad \theta = \theta_0 + \lambda X_T

    with T = ``steps``, :math:`\eta` = ``rate`` and :math:`\lambda` = ``scale``. The rows of a task vector are
    combinations of its task's inputs, so they stand in for data; ``inputs`` says which axis the inputs belong to.
    ``start: mean`` begins at the mean of the task vectors. Vectors and scalars are averaged, and so are tensors of
    more than two axes, unless ``kernels: fold`` takes them for matrices of the first axis by all others.

    The method is these steps and not the minimum that they head for: L is quadratic, and `swudi` with a long ``time``
    and a ``share`` of 1 goes there at once, but T steps of :math:`\eta` move no number by more than about
    :math:`T \eta`, and the minimum generalises worse. Each step costs a product with a matrix as large as the inputs
    are many, squared: minutes for a large matrix without a GPU. Adam does not come to rest: it trembles by about its
    rate.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2503.08099 and its official code for vision models, whose learning rate this is; that for language
        models takes 2e-5.
    Differs: the official code for vision models divides by the norm in one file and by its square in another; here it
        is the square, as in the paper. ``start``, ``scale``, ``inputs`` and ``kernels`` are additions. Gradients take
        the way that Adam goes as given.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        NonFiniteError: a task vector holds NaN or infinity.

    >>> import torch
    >>> tuned = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> wudi(torch.zeros(2, 2), tuned, steps=5000, rate=1e-3).round(decimals=3) + 0.0
    tensor([[1., 0.],
            [0., 1.]])
    """
    with_base(base, tuned, where="merge/wudi")
    pair = by_inputs(base, tuned, site, kernels, inputs)
    if pair is None:
        return averaged(base, tuned, scale)
    measure = interference(pair, start)
    square = measure.inputs().detach().to(base.dtype)

    def found(part: slice) -> Tensor:
        slope = measure.slope(part, start).detach().to(base.dtype)
        return beginning(pair, part, start) + _descended(square, slope, steps, rate).double()

    return moved(pair, ahead(found, parts(pair.shape)), scale)
