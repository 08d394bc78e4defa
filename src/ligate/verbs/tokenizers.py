"""The tokenizer of a result: whether every model speaks the vocabulary that was asked for, and its chat template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import Source
from ligate.io.chat_template import template_of, with_template
from ligate.io.sidecars import find_sidecars
from ligate.io.vocabulary import has_vocabulary, vocabulary_difference
from ligate.recipe.resolve import donor
from ligate.recipe.schema import Recipe
from ligate.recipe.slices import labels

_AUTO = "auto"


def tokenizer_complaints(recipe: Recipe, sources: Mapping[str, Source]) -> list[LigateError]:
    """What speaks against the tokenizer and chat template that a recipe asks for; nothing when it asks for none."""
    try:
        return [*_vocabulary_complaints(recipe, sources), *_template_complaints(recipe, sources)]
    except LigateError as error:
        return [error]


def result_sidecars(
    recipe: Recipe, sources: Mapping[str, Source], edits: Mapping[str, object]
) -> dict[str, Path | bytes]:
    """The files beside the weights: the donor's config, the tokenizer and chat template that the recipe asks for."""
    giver = sources[donor(recipe, recipe.steps[-1])].folder
    if giver is None:
        return {}
    tokenizer = sources[recipe.output.tokenizer].folder if recipe.output.tokenizer else None
    found = find_sidecars(giver, tokenizer=tokenizer, config_edits=edits)
    template = _template(recipe, sources)
    return with_template(found, template) if template else found


def _vocabulary_complaints(recipe: Recipe, sources: Mapping[str, Source]) -> list[LigateError]:
    """Rows of embeddings are merged by number: a number must stand for the same token in every model."""
    chosen = recipe.output.tokenizer
    folder = sources[chosen].folder if chosen and chosen in sources else None
    if folder is None:
        return []
    if not has_vocabulary(folder):
        hint = "take the tokenizer from another model, or leave the setting out."
        return [InputError("holds no tokenizer", where=f"model {chosen}, {folder}", hint=hint)]
    found: list[LigateError] = []
    for label in _merged(recipe):
        own = sources[label].folder if label in sources else None
        difference = vocabulary_difference(folder, own) if own is not None and label != chosen else None
        if difference:
            text = f"its vocabulary is not that of `{chosen}`, whose tokenizer was asked for: {difference}"
            hint = "vocabularies cannot be aligned yet; without the setting rows are merged by their number."
            found.append(InputError(text, where=f"model {label}, {own}", hint=hint))
    return found


def _template_complaints(recipe: Recipe, sources: Mapping[str, Source]) -> list[LigateError]:
    if recipe.output.chat_template is None or recipe.problems:  # then nobody can say who the donor is
        return []
    label = recipe.output.tokenizer or donor(recipe, recipe.steps[-1])
    folder = sources[label].folder if label in sources else None
    if folder is None:
        return []
    if not (folder / "tokenizer_config.json").is_file():
        hint = "take the tokenizer of a model that has one, or leave the template out."
        return [InputError("holds no tokenizer for the chat template", where=f"model {label}, {folder}", hint=hint)]
    return []


def _template(recipe: Recipe, sources: Mapping[str, Source]) -> str | None:
    """The template as it is written; for `auto` the one that most of the models have, the first listed of equals."""
    asked = recipe.output.chat_template
    if asked != _AUTO:
        return asked
    folders = [folder for label in _merged(recipe) if label in sources and (folder := sources[label].folder)]
    counted = Counter(template for folder in folders if (template := template_of(folder)))
    return counted.most_common(1)[0][0] if counted else None


def _merged(recipe: Recipe) -> list[str]:
    """The models that take part, in order of their first appearance."""
    return list(dict.fromkeys(label for step in recipe.steps for label in labels(step)))
