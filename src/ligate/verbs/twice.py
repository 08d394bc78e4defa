"""One model must not be merged with itself by mistake: a path copied to a second label, a glob that names it again."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator

from ligate.core.errors import LigateError, RecipeError
from ligate.recipe.schema import Recipe, SourceSpec, Step

from .sources import is_local


def same_models(recipe: Recipe) -> list[LigateError]:
    """Models of a step that are the same files under two labels. Slices may well combine layers of one model."""
    return [error for step in recipe.steps if not step.slices for error in _of_step(recipe, step)]


def _of_step(recipe: Recipe, step: Step) -> Iterator[LigateError]:
    seen: dict[Hashable, str] = {}
    for label in dict.fromkeys((*((step.base,) if step.base else ()), *step.models)):
        spec = recipe.sources.get(label)
        if spec is None or not spec.path:
            continue
        first = seen.setdefault(_identity(spec), label)
        if first != label:
            role, hint = ("the base ", "leave it out.") if first == step.base else ("", "give it more weight instead.")
            where = str(spec.place or step.place)
            yield RecipeError(f"`{label}` is the same model as {role}`{first}`", where=where, hint=hint)


def _identity(spec: SourceSpec) -> Hashable:
    adapters = tuple((_place(one.path), one.revision, one.scale) for one in spec.adapters)
    return _place(spec.path), spec.revision, adapters


def _place(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path)) if is_local(path) else path
