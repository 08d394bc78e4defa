"""Merge models that are already in memory: state dicts or torch modules. Nothing that is handed in is changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ligate.core.errors import RecipeError, raise_all
from ligate.core.method import Card
from ligate.core.tensors import Source
from ligate.methods import _catalogue
from ligate.recipe.schema import MeasuredSpec, Output, Place, Recipe, SourceSpec, Step

from .compose import settings_of
from .given import Overrides, overridden
from .opening import Model, open_model
from .rebuilding import rebuilt

if TYPE_CHECKING:
    from torch import Tensor, nn

_PLACE = "merge_state_dicts"


def merge_state_dicts(
    method: str,
    base: Model | None,
    models: Sequence[Model] | Mapping[str, Model],
    *,
    dtype: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    drop: Sequence[str] = (),
    measured: Mapping[str, Any] = MappingProxyType({}),
    **params: Any,
) -> dict[str, Tensor]:
    """Merge state dicts, modules or paths by one method; returns a new state dict on the CPU.

    `models` may name its models; else they are called `model1`, `model2`, ... A parameter is one value, a list with
    one for each model, or `{name: value}`; in place of a model's value may stand a list over its layers. `drop` holds
    globs of tensor names that are left out. `measured` holds, by keyword, what a method takes besides the models: for
    each model (as `models` are given) or for all of them tensors by the names of the weights, or a path to such a file.

    >>> import torch
    >>> a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}
    >>> merge_state_dicts("linear", None, [a, b], weight=[3, 1])
    {'w': tensor([1.5000, 3.0000])}

    Raises:
        RecipeError: the method, its parameters or the number of models are wrong.
        InputError: the models do not fit together.
        NonFiniteError: NaN or infinity in a model or in the result.
    """
    card = _catalogue.load(method)
    named = dict(models) if isinstance(models, Mapping) else {f"model{i}": m for i, m in enumerate(models, 1)}
    if base is not None and "base" in named:
        raise RecipeError("a model is called `base`", where=_PLACE, hint="rename it.")
    everyone = {**({} if base is None else {"base": base}), **named}
    specs = _measured_specs(card, measured, tuple(named))
    sources = {label: open_model(model, label=label) for label, model in everyone.items()}
    sources |= {spec.source: open_model(given, label=spec.source) for spec, given in specs}
    step = Step(
        card.id,
        tuple(named),
        None if base is None else "base",
        settings=settings_of(card, params, tuple(named), _PLACE),
        measured=tuple(spec for spec, _ in specs),
        place=Place(_PLACE),
    )
    paths = {label: SourceSpec(label, label) for label in sources}
    recipe = overridden(Recipe(paths, (step,), Output(drop=tuple(drop)), seed=seed), Overrides(dtype))
    raise_all(recipe.problems)
    return _merged(recipe, sources, threads)


def _measured_specs(card: Card, measured: Mapping[str, Any], models: Sequence[str]) -> list[tuple[MeasuredSpec, Model]]:
    """Each measured source with what was handed in for it."""
    found: list[tuple[MeasuredSpec, Model]] = []
    for name, given in measured.items():
        if card.measured.get(name) != "model" or isinstance(given, str):
            each: dict[str | None, Model] = {None: given}  # of all models, or what is told by whoever knows the card
        elif isinstance(given, Mapping):
            each = dict(given)
        else:
            each = dict(zip(models, given, strict=False))  # too few are told like models that are left out
        found += [
            (MeasuredSpec(name, f"{model or 'merge'}+{name}", model, Place(_PLACE)), one) for model, one in each.items()
        ]
    return found


def merge_modules(
    method: str, base: nn.Module | None, models: Sequence[nn.Module] | Mapping[str, nn.Module], **options: Any
) -> nn.Module:
    """As `merge_state_dicts`, for modules of one class; returns a new one, a deep copy of the base or the first."""
    everyone = [*([] if base is None else [base]), *(models.values() if isinstance(models, Mapping) else models)]
    if not everyone:
        raise RecipeError("there is no model", where="merge_modules")
    result = copy.deepcopy(everyone[0])
    result.load_state_dict(merge_state_dicts(method, base, models, **options))
    return result


def _merged(recipe: Recipe, sources: Mapping[str, Source], threads: int | None) -> dict[str, Tensor]:
    try:
        return rebuilt(recipe, recipe.steps[-1], sources, _catalogue.load, threads=threads)
    finally:
        for source in sources.values():
            source.close()
