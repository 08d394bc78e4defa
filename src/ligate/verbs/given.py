"""What a caller hands in, made uniform: recipes as objects, files or plain data; sizes, dtypes, options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, TypeAlias

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import spoken_dtype
from ligate.engine.memory import parse_bytes
from ligate.methods import _catalogue
from ligate.recipe.parse import data_text, draft_file, draft_text
from ligate.recipe.schema import Recipe

from .canonical import Lookup
from .prefixes import without_prefixes
from .vocabularies import with_tokenizer

GivenRecipe: TypeAlias = "Recipe | str | PathLike[str] | Mapping[str, Any]"
Size: TypeAlias = "int | str"

_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Overrides:
    """What a caller wants differently from what the recipe says; None leaves it as it is.

    `drop` comes to what the recipe drops; `strip_prefix` holds `PREFIX` or `MODEL=PREFIX`; `tokenizer` is `union`, the
    label of a source, or `base` for that of the base (without one, of the first model).
    """

    dtype: str | None = None
    seed: int | None = None
    shard_size: Size | None = None
    drop: Sequence[str] = ()
    strip_prefix: Sequence[str] = ()
    tokenizer: str | None = None


def given_recipe(given: GivenRecipe, overrides: Overrides = Overrides()) -> Recipe:
    """The recipe in a file, in plain data of our own dialect, or as it is; then the overrides.

    What is wrong with its text or with an override stands in its `problems`: whoever opens the sources tells all.
    """
    return overridden(_parsed(given), overrides)


def overridden(recipe: Recipe, overrides: Overrides) -> Recipe:
    output, problems = recipe.output, list(recipe.problems)
    try:
        if overrides.dtype is not None:
            output = replace(output, dtype=_dtype(overrides.dtype))
    except RecipeError as error:
        problems.append(error)
    try:
        if overrides.shard_size is not None:
            output = replace(output, shard_bytes=given_bytes(overrides.shard_size, "--shard-size"))
    except RecipeError as error:
        problems.append(error)
    output = with_tokenizer(recipe, output, overrides.tokenizer, problems)
    output = replace(output, drop=tuple(dict.fromkeys((*output.drop, *overrides.drop))))
    seed = recipe.seed if overrides.seed is None else overrides.seed
    before = len(problems)
    recipe = without_prefixes(recipe, overrides.strip_prefix, problems)
    names_known = recipe.names_known and len(problems) == before
    return replace(recipe, output=output, seed=seed, problems=tuple(problems), names_known=names_known)


def given_bytes(size: Size, where: str = "--memory") -> int:
    """`4G`, `512MB` or a number."""
    try:
        number = size if isinstance(size, int) else parse_bytes(size)
    except RecipeError as error:
        error.where = where
        raise
    if number < 1:
        raise RecipeError(f"must be at least 1. Got {number} instead.", where=where)
    return number


def lookup_with(plugins: Sequence[str | PathLike[str]]) -> Lookup:
    """The catalogue's lookup, after the methods of these files have joined it."""
    for path in plugins:
        _catalogue.load_plugin(str(path))
    return _catalogue.load


def _parsed(given: GivenRecipe) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if isinstance(given, Mapping):
        return draft_text(data_text(given), "recipe")
    return draft_file(str(given))


def _dtype(text: str) -> str:
    name = spoken_dtype(text)
    if name is None:
        hint = nearest(text, _DTYPES)
        raise RecipeError(f"`{text}` is no dtype that can be written", where="--dtype", hint=hint)
    return name
