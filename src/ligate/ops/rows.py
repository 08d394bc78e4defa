"""Small words of block arithmetic: one row per model, temporaries that are reused unless gradients are wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ligate.core import kernels
from ligate.core.direct import AddWeighted
from ligate.core.errors import InputError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor


def per_model(value: float | Sequence[float], models: int, *, name: str) -> tuple[float, ...]:
    """One number for all models, or one for each."""
    values = (float(value),) * models if isinstance(value, (int, float)) else tuple(map(float, value))
    if len(values) != models:
        raise RecipeError(f"`{name}` has {len(values)} values for {models} models", hint="give one, or one per model.")
    return values


def total_weight(weights: Sequence[float], *, normalize: bool | None = None) -> float:
    """What a weighted sum is divided by: the sum of the weights, or 1 if it is not to be normalised. None: always."""
    total = math.fsum(weights)
    if normalize is not False and abs(total) <= 1e-8 * max(map(abs, weights)):
        raise RecipeError(
            f"the weights {', '.join(f'{weight:g}' for weight in weights)} sum to zero, so they cannot be normalised",
            hint="change a weight, or set `normalize: false`." if normalize else "change a weight.",
        )
    return 1.0 if normalize is False else total


def check_weights(params: Mapping[str, Any]) -> None:
    """A card's check: weights that are to be normalised must not sum to zero."""
    weight = params["weight"]
    total_weight((weight,) if isinstance(weight, (int, float)) else weight, normalize=params["normalize"])


def check_total(params: Mapping[str, Any]) -> None:
    """A card's check: weights by whose sum is always divided must not sum to zero."""
    weight = params["weight"]
    total_weight((weight,) if isinstance(weight, (int, float)) else weight)


def wants_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def own(row: Tensor) -> Tensor | None:
    """Where to put what becomes of a temporary: its own memory; None, that is new memory, when gradients are wanted."""
    return None if wants_gradient(row) else row


def deltas(base: Tensor, tuned: Tensor) -> Iterator[Tensor]:
    """The task vectors, one after the other in the same memory; the caller may overwrite them."""
    memory = None if wants_gradient(base, tuned) else torch.empty_like(base)
    for model in tuned:
        yield torch.sub(model, base, out=memory)


def same_shape(base: Tensor, tuned: Tensor, *, where: str) -> None:
    if tuned.shape[1:] != base.shape:
        raise InputError(
            f"base is {tuple(base.shape)}, models are {tuple(tuned.shape[1:])}",
            where=where,
            hint="stack the models along a new first axis: [K, *shape of the base].",
        )


def add_weighted(base: Tensor, tuned: Tensor, rule: AddWeighted) -> Tensor:
    """The rule on tensors of any shape."""
    flat = tuned.reshape(len(tuned), -1)
    return kernels.add_weighted(base.reshape(-1), flat, rule.weights, rule.scale, models=True).view(base.shape)


def weighted_sum(rows: Iterable[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum in float64 of weight times row in the order of the models; rows are read once and may share their memory."""
    total: Tensor | None = None
    for row, weight in zip(rows, weights, strict=True):
        part = row.double() * weight
        total = part if total is None else total.add_(part)
    if total is None:
        raise RecipeError("there is no model to merge", hint="name at least one model.")
    return total
