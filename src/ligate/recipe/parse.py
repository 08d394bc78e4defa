"""A recipe file becomes a `Recipe`, whichever dialect it is written in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ligate.core.errors import RecipeError, raise_all

from .dialects import ligate, mergekit
from .dialects.ligate_data import data
from .nodes import Item, Reading, read_all
from .schema import DataSpec, Recipe

_NO_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_OURS = frozenset({"sources", "merge", "steps", "output"})
_MIXTURES = frozenset({"experts", "gate_mode", "experts_per_token"})
_MERGEKITS = frozenset({"merge_method", "base_model", "models", "slices", "modules", "tokenizer_source"})


def parse_file(path: str | Path) -> Recipe:
    """Read a recipe; `RecipeError` or `Problems` tell all that is wrong with its text."""
    return _sound(draft_file(path))


def parse_text(text: str, name: str = "recipe") -> Recipe:
    """As `parse_file`, for a text; `name` stands in messages."""
    return _sound(draft_text(text, name))


def data_text(data: Any) -> str:
    """Plain data as a text that is read back the same: JSON, with escapes for what YAML takes for no letter."""
    return _NO_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, ensure_ascii=False))


def draft_file(path: str | Path) -> Recipe:
    """Read a recipe as far as it can be understood; what is wrong with its text stands in `problems`.

    Raises:
        RecipeError: there is no such file, or it is no YAML.
    """
    path = Path(path)
    return draft_text(_text(path), path.name)


def data_of(path: str | Path) -> DataSpec:
    """The `data:` of a YAML file that may be a recipe, or hold nothing else; `RecipeError` or `Problems` tell all that
    is wrong with it."""
    path, reading = Path(path), Reading()
    documents, problems = read_all(_text(path), path.name)
    top = reading.fields(documents[0], "the file")
    found = data(reading, top.get("data"))
    raise_all([*problems, *reading.problems])
    if found is None:
        hint = "for example `data: {kind: classification, tasks: {NAME: FILE.csv}}`; see docs/learned.md."
        raise RecipeError("there is no `data:` in it", where=path.name, hint=hint)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError("no such recipe", where=str(path), hint="`ligate init` writes one to start from") from None
    except IsADirectoryError:
        hint = "`ligate check OUT --load` loads a result, `ligate verify OUT` compares it with its record."
        raise RecipeError("is a folder; a recipe is a YAML text file", where=str(path), hint=hint) from None
    except UnicodeDecodeError:
        raise RecipeError("a recipe is a YAML text file in UTF-8", where=str(path)) from None
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", where=str(path)) from None


def draft_text(text: str, name: str = "recipe") -> Recipe:
    """As `draft_file`, for a text; `name` stands in messages."""
    documents, problems = read_all(text, name)
    _refuse_mixture(documents)
    recipe = mergekit.read(documents) if _is_mergekit(documents) else ligate.read(documents)
    if not problems:
        return recipe
    steps = tuple(replace(step, whole=False) for step in recipe.steps)  # the problems may lie in any of them
    return replace(recipe, steps=steps, problems=(*problems, *recipe.problems), names_known=False)


def _sound(recipe: Recipe) -> Recipe:
    raise_all(recipe.problems)
    return recipe


def _refuse_mixture(documents: Sequence[Item]) -> None:
    if _keys(documents) & _MIXTURES and not _keys(documents) & (_OURS | {"merge_method"}):
        text = "this is the config of a mixture of experts"
        raise RecipeError(text, where=str(documents[0].place), hint="`ligate moe CONFIG OUT` builds it.")


def _is_mergekit(documents: Sequence[Item]) -> bool:
    keys = _keys(documents)
    return not keys & _OURS and (len(documents) > 1 or bool(keys & _MERGEKITS))


def _keys(documents: Sequence[Item]) -> set[str]:
    return {key for document in documents if isinstance(document.value, Mapping) for key in document.value}
