"""The files of a result that speak of tokens: its tokenizer, its chat template, what its configs say of both."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import Source
from ligate.io.chat_template import template_of, with_template
from ligate.io.config import edited
from ligate.io.documents import read_object
from ligate.io.sidecars import find_sidecars
from ligate.io.vocabulary_union import FILE, added_entries, to_bytes, tokens_of
from ligate.recipe.resolve import donor
from ligate.recipe.schema import Recipe
from ligate.recipe.vocabulary_tensors import is_untied

from .token_ids import Renumbered, id_edits, size_edits, untied_edits
from .vocabularies import Aligned, lead_of, merged_labels

_AUTO = "auto"
_CONFIG = "tokenizer_config.json"
_GENERATION = "generation_config.json"
_SLOW = re.compile(
    r"(.*[_-])?vocab([_.-].*)?\.(json|txt|bpe)|merges\.txt|added_tokens\.json|tekken\.json|.*\.(model|tiktoken)"
)
"""Other files that hold a vocabulary: beside a `tokenizer.json` that knows more they would contradict it."""


def template_complaints(recipe: Recipe, sources: Mapping[str, Source]) -> list[LigateError]:
    """What speaks against the chat template that a recipe asks for."""
    if recipe.output.chat_template is None or recipe.problems:  # then nobody can say who the donor is
        return []
    asked = recipe.output.tokenizer or recipe.output.union
    label = lead_of(recipe) if asked else donor(recipe, recipe.steps[-1])
    folder = sources[label].folder if label and label in sources else None
    if folder is None:
        return []
    if not (folder / _CONFIG).is_file():
        hint = "take the tokenizer of a model that has one, or leave the template out."
        return [InputError("holds no tokenizer for the chat template", where=f"model {label}, {folder}", hint=hint)]
    return []


def result_sidecars(recipe: Recipe, vocabulary: Aligned, edits: Mapping[str, Any]) -> dict[str, Path | bytes]:
    """The files beside the weights: the donor's config, the tokenizer and chat template that the recipe asks for."""
    sources = vocabulary.sources
    giver = sources[donor(recipe, recipe.steps[-1])].folder
    if giver is None:
        return {}
    tokenizer = sources[vocabulary.lead].folder if vocabulary.lead else None
    edits = {**edits, **config_edits(recipe, vocabulary)}
    found = find_sidecars(giver, tokenizer=tokenizer, config_edits=edits)
    generation = _generation_edits(recipe, vocabulary)
    if generation and _GENERATION in found:
        found[_GENERATION] = _as_json(edited(read_object(giver / _GENERATION), generation))
    if vocabulary.content is not None:
        found = _with_tokens(found, vocabulary.content)
    template = _template(recipe, sources)
    return with_template(found, template) if template else found


def config_edits(recipe: Recipe, vocabulary: Aligned) -> dict[str, Any]:
    """What config.json must say differently: rows, numbers of special tokens, a head that is tied no more."""
    label = donor(recipe, recipe.steps[-1])
    folder = vocabulary.sources[label].folder
    if folder is None or not (folder / "config.json").is_file():
        return {}
    config = read_object(folder / "config.json")
    found: dict[str, Any] = {}
    if vocabulary.target is not None:
        found |= size_edits(config, vocabulary.rows.get(label, 0), vocabulary.target.rows)
    if any(is_untied(name, stored) for name, stored in recipe.sources[label].alias.items()):
        found |= untied_edits(config)
    return {**found, **_renumbered(recipe, vocabulary, "config.json").values}


def lost_tokens(recipe: Recipe, vocabulary: Aligned) -> list[str]:
    """A sentence for every special token that the donor's configs name and the result does not have."""
    return [
        f"{name} names a token as `{key}` that the tokenizer of `{vocabulary.lead}` does not have: the key is left out"
        for name in ("config.json", _GENERATION)
        for key in _renumbered(recipe, vocabulary, name).lost
    ]


def _generation_edits(recipe: Recipe, vocabulary: Aligned) -> Mapping[str, Any]:
    return _renumbered(recipe, vocabulary, _GENERATION).values


def _renumbered(recipe: Recipe, vocabulary: Aligned, name: str) -> Renumbered:
    """Nothing where the donor's own tokenizer is the result's: its tokens keep their numbers."""
    label, lead = donor(recipe, recipe.steps[-1]), vocabulary.lead
    if lead is None or label == lead:
        return Renumbered({})
    sources = vocabulary.sources
    own = vocabulary.numbers.get(label)
    numbers = vocabulary.target.numbers if vocabulary.target else vocabulary.numbers[lead]
    if own is None or own == numbers:
        return Renumbered({})
    return id_edits(_table(sources[label], name), own, tokens_of(numbers), _table(sources[lead], name))


def _table(source: Source, name: str) -> Mapping[str, Any]:
    path = source.folder / name if source.folder else None
    return read_object(path) if path and path.is_file() else {}


def _with_tokens(found: Mapping[str, Path | bytes], content: Mapping[str, Any]) -> dict[str, Path | bytes]:
    """The tokenizer's files with a new `tokenizer.json`, and without those that would contradict it."""
    result = {name: file for name, file in found.items() if not _SLOW.fullmatch(name)}
    result[FILE] = to_bytes(content)
    config = found.get(_CONFIG)
    if isinstance(config, Path):
        table = read_object(config)
        told = table.get("added_tokens_decoder")
        if isinstance(told, dict):
            fresh = {str(entry["id"]): _told(entry) for entry in added_entries(content) if str(entry["id"]) not in told}
            result[_CONFIG] = _as_json({**table, "added_tokens_decoder": {**told, **fresh}})
    return result


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "id"}


def _as_json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()


def _template(recipe: Recipe, sources: Mapping[str, Source]) -> str | None:
    """The template as it is written; for `auto` the one that most of the models have, the first listed of equals."""
    asked = recipe.output.chat_template
    if asked != _AUTO:
        return asked
    folders = [folder for label in merged_labels(recipe, sources) if (folder := sources[label].folder)]
    counted = Counter(template for folder in folders if (template := template_of(folder)))
    return counted.most_common(1)[0][0] if counted else None
