"""`--strip-prefix`: what stands in front of a model's tensor names and keeps them from being those of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from ligate.core.errors import LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.recipe.schema import Recipe, SourceSpec

from .sources import open_spec

_WHERE = "--strip-prefix"


def without_prefixes(recipe: Recipe, asked: Sequence[str], found: list[LigateError]) -> Recipe:
    """The recipe with `MODEL=PREFIX` for one source, `PREFIX` for each whose names begin with it.

    `found` takes what is asked for in vain.
    """
    sources = dict(recipe.sources)
    for text in asked:
        label, equals, prefix = text.rpartition("=")
        if not prefix:
            found.append(RecipeError(f"'{text}' has no prefix", where=_WHERE, hint="for example `a=module.`"))
        elif equals and label not in sources:
            found.append(RecipeError(f"`{label}` is no source", where=_WHERE, hint=nearest(label, sources)))
        else:
            chosen = [sources[label]] if equals else _having(prefix, recipe, found)
            sources |= {spec.label: replace(spec, strip_prefix=prefix) for spec in chosen}
    return replace(recipe, sources=sources)


def _having(prefix: str, recipe: Recipe, found: list[LigateError]) -> list[SourceSpec]:
    """The sources with such names. One that cannot be opened has none; why it cannot is told when it is needed."""
    steps = {step.name for step in recipe.steps}
    names = {label: _names(spec) for label, spec in recipe.sources.items() if spec.path not in steps}
    chosen = [label for label, own in names.items() if own and any(name.startswith(prefix) for name in own)]
    if not chosen and None not in names.values():
        text = f"no model has tensor names that begin with '{prefix}'"
        found.append(RecipeError(text, where=_WHERE, hint=f"they begin with {_beginnings(names)}."))
    return [recipe.sources[label] for label in chosen]


def _names(spec: SourceSpec) -> tuple[str, ...] | None:
    try:
        with closing(open_spec(replace(spec, strip_prefix="", alias={}))) as source:
            return tuple(source.headers())
    except LigateError:
        return None


def _beginnings(names: Mapping[str, tuple[str, ...] | None]) -> str:
    found = dict.fromkeys(name.partition(".")[0] for own in names.values() for name in own or ())
    return ", ".join(f"'{word}.'" for word in list(found)[:5])
