"""RegMean: the linear layer whose outputs are nearest to those of the models' own, on the models' own inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch

from ligate.core import kernels
from ligate.core.errors import InputError, RecipeError
from ligate.core.method import Site, method
from ligate.core.params import PerModel, Range
from ligate.ops.rows import check_total, per_model, total_weight

if TYPE_CHECKING:
    from torch import Tensor


def _scratch(params: Mapping[str, Any], shape: tuple[int, ...], models: int) -> int:
    """In float64: a Gram matrix, the sum of all, its factor and a copy; a weight, the right side and the solution."""
    numel = math.prod(shape)
    inputs = _inputs(shape, params["inputs"]) if len(shape) == 2 else 0
    return 8 * (4 * inputs**2 + 4 * numel)


def _inputs(shape: Sequence[int], inputs: str) -> int:
    return shape[0] if inputs == "first" else shape[-1]


def _reduced(gram: Tensor, alpha: float, weight: float) -> Tensor:
    """What does not lie on the diagonal, times alpha; all of it times the weight."""
    found = gram.to(torch.float64) * (alpha * weight)
    found.diagonal().copy_(gram.diagonal().double() * weight)
    return found


@method(
    title="RegMean",
    source="arXiv:2212.09849",
    base="unused",
    symmetric=True,
    reach="tensor",
    check=check_total,
    scratch=_scratch,
    measured={"grams": "model"},
)
def regmean(
    base: Tensor | None,
    tuned: Tensor,
    *,
    site: Site | None = None,
    grams: Sequence[Tensor] | None = None,
    weight: Annotated[float | Sequence[float], Range(0), PerModel()] = 1.0,
    alpha: Annotated[float, Range(0, 1)] = 0.9,
    ridge: Annotated[float, Range(0)] = 1e-6,
    inputs: Literal["last", "first"] = "last",
) -> Tensor:
    r"""Merge linear layers so that on the inputs of each model the outputs change least; average all else.

    .. math::
        W^\top = \Big( \sum_k \lambda_k \tilde G_k \Big)^{-1} \sum_k \lambda_k \tilde G_k W_k^\top, \quad
        \tilde G_k = \alpha G_k + (1 - \alpha) \operatorname{diag}(G_k) + \rho I, \quad G_k = X_k^\top X_k / N_k

    where :math:`X_k` are the :math:`N_k` inputs of the layer when model k is asked its own examples. It is the least
    of :math:`\sum_k \lambda_k \lVert X_k (W - W_k)^\top \rVert^2 / N_k` for ``alpha`` 1; what ``alpha`` takes from
    the correlations pulls towards the models' own weights. :math:`\lambda_k` = ``weight``, and :math:`\rho` is
    ``ridge`` times the mean of all diagonals: directions in which no model has inputs are averaged.

    ``grams`` are measured before, by `ligate.learn.measuring.grams` or anybody: [in, in] for each model, by the
    weight's name. Tensors without them are averaged. ``inputs`` is the axis of the weight that takes them: `last` in
    torch's linear layers, `first` in the layers of GPT-2 that transformers call Conv1D.

    Shapes: ``base`` is not used; ``tuned`` [K, *S] for K models, float; ``grams`` K of [in, in]; returns [*S]. Dtypes
        are the engine's; it is solved in float64, by a Cholesky decomposition.
    Source: equations 1 and 2 and section 3.2 of arXiv:2212.09849, and its public code.
    Differs: there the inverse is computed, in float32, of a matrix that may be singular; :math:`\rho` is an addition,
        and 0 gives theirs. Their code leaves ``alpha`` out unless told, and has .1 and .9 in its examples.

    Raises:
        InputError: a Gram matrix is not square, or not of the layer's number of inputs.
        RecipeError: the matrix is singular; or the weights are all zero, or are not one per model.

    >>> import torch
    >>> grams = [torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.eye(2)]
    >>> regmean(None, torch.tensor([[[1.0, 2.0]], [[5.0, 6.0]]]), grams=grams, ridge=0.0)
    tensor([[2., 4.]])
    """
    weights = per_model(weight, len(tuned), name="weight")
    total = total_weight(weights)
    shape = tuple(site.shape if site else tuned.shape[1:])
    if grams is None:
        return kernels.weighted_sum(tuned.reshape(len(tuned), -1), weights, total).view(tuned.shape[1:])
    _require(grams, shape, inputs)
    found = _solved(grams, tuned.reshape(len(tuned), *shape), weights, alpha, ridge, inputs)
    return found.reshape(tuned.shape[1:]).to(tuned.dtype)


def _solved(
    grams: Sequence[Tensor], tuned: Tensor, weights: Sequence[float], alpha: float, ridge: float, inputs: str
) -> Tensor:
    """Of the weight's shape, in float64."""
    size = len(grams[0])
    mean = sum(w * float(gram.diagonal().double().sum()) for gram, w in zip(grams, weights, strict=True)) / size
    rho = ridge * (mean / sum(weights) if mean > 0 else 1.0)  # without any inputs the models count the same
    left = grams[0].new_zeros((size, size), dtype=torch.float64)
    right = torch.zeros_like(tuned[0] if inputs == "first" else tuned[0].T, dtype=torch.float64)
    for gram, own, w in zip(grams, tuned, weights, strict=True):
        one = _reduced(gram, alpha, w)
        one.diagonal().add_(rho * w)
        left += one
        right += one @ (own if inputs == "first" else own.T).double()
    factor, wrong = torch.linalg.cholesky_ex(left)
    if int(wrong):
        text = "the inputs of all models together do not determine the layer"
        hint = "raise `ridge`, lower `alpha`, or measure more examples."
        raise RecipeError(text, where="merge/regmean", hint=hint)
    found = torch.cholesky_solve(right, factor)
    return found if inputs == "first" else found.T


def _require(grams: Sequence[Tensor], shape: Sequence[int], inputs: str) -> None:
    for gram in grams:
        if len(shape) != 2 or gram.shape != (_inputs(shape, inputs),) * 2:
            fits = len(shape) == 2 and gram.shape == (_inputs(shape, "first" if inputs == "last" else "last"),) * 2
            other = "`inputs: last`" if inputs == "first" else "`inputs: first`, as Conv1D layers have them"
            raise InputError(
                f"a Gram matrix is {list(gram.shape)}, the weight {list(shape)} with its inputs on the {inputs} axis",
                where="merge/regmean",
                hint=f"set {other}." if fits else "measure the Gram matrices on the models that are merged.",
            )
