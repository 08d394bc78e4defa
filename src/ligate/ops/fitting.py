"""Whether what a rule was called with can be merged by it at all; recipes are told so earlier, notebooks here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ligate.core.errors import InputError, RecipeError

from .rows import same_shape

if TYPE_CHECKING:
    from torch import Tensor


def with_base(base: Tensor | None, tuned: Tensor, *, where: str, fewest: int = 1, most: int | None = None) -> Tensor:
    """The base, of the models' shape; there are as many models as the rule takes."""
    counted(tuned, where=where, fewest=fewest, most=most)
    if base is None:
        raise InputError("there is no base", where=where, hint="pass the model that the others were made from.")
    same_shape(base, tuned, where=where)
    return base


def counted(tuned: Tensor, *, where: str, fewest: int = 1, most: int | None = None) -> None:
    """Refuse too few or too many models."""
    models = len(tuned)
    if models < fewest or models > (models if most is None else most):
        wanted = f"{fewest}" if fewest == most else f"at least {fewest}" if most is None else f"{fewest} to {most}"
        noun = "model" if wanted == "1" else "models"
        raise RecipeError(f"merges {wanted} {noun} besides any base, not {models}", where=where)


def gained(weights: Sequence[float], gain: Sequence[float] | None) -> Sequence[float]:
    """Weights times what makes up for entries that were set to zero."""
    return weights if gain is None else [one * factor for one, factor in zip(weights, gain, strict=True)]
