"""Put the rows of models with different vocabularies together, before anything is planned: a view over each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Source
from ligate.io.rows import Reordered, Rows
from ligate.io.vocabulary import Numbers, Vocabulary, json_numbers, vocabulary, vocabulary_clash
from ligate.io.vocabulary_union import FILE, Content, Tokenizer, added_entries, plain_entry, read_tokenizer, united
from ligate.recipe.dialects.ligate_tokenizer import UNION
from ligate.recipe.resolve import origin
from ligate.recipe.schema import Output, Recipe
from ligate.recipe.slices import labels
from ligate.recipe.vocabulary import Speaker, Target, Wishes, complaints, layouts, notes, speaker, target
from ligate.recipe.vocabulary_tensors import VocabularyTensors, vocabulary_tensors

from .sources import Sources, flat


@dataclass(frozen=True)
class Aligned:
    """The sources of a merge, and what their common vocabulary means for the files beside the weights."""

    sources: Sources
    lead: str | None = None  # whose tokenizer the result has, where one is asked for
    content: Content | None = None  # of tokenizer.json, where it is not the lead's own
    target: Target | None = None  # None: every row stays where it is
    numbers: Mapping[str, Numbers] = field(default_factory=dict)  # by label, of the models as they were
    rows: Mapping[str, int] = field(default_factory=dict)  # by label, of the models as they were
    notes: tuple[str, ...] = ()


def aligned(recipe: Recipe, sources: Sources, found: list[LigateError]) -> Aligned:
    """The sources with the rows of one vocabulary, as the recipe asks; `found` takes what speaks against it.

    Where it asks for nothing, no number may stand for different tokens in different models.
    """
    try:
        if recipe.output.tokenizer or recipe.output.union:
            return _aligned(recipe, sources, found)
        found += _clashes(recipe, sources)
    except LigateError as error:
        found += flat(error)
    return Aligned(sources)


def lead_of(recipe: Recipe) -> str | None:
    """Whose tokenizer goes first: the one asked for; of a union the base's, else the first model's."""
    if recipe.output.tokenizer:
        return recipe.output.tokenizer
    last = recipe.steps[-1] if recipe.steps else None
    first = last and (last.base or next(iter(last.models), None))
    return origin(recipe, first) if first else None


def with_tokenizer(recipe: Recipe, output: Output, asked: str | None, found: list[LigateError]) -> Output:
    """The output with the tokenizer that was asked for: `union`, `base` or a label."""
    if asked is None:
        return output
    if asked == UNION:
        if UNION in recipe.sources:
            text = f"`{UNION}` takes the tokens of all models, and a source has this name too"
            found.append(RecipeError(text, where="--tokenizer", hint="give the source another name."))
        return replace(output, tokenizer=None, union=True)
    label = lead_of(replace(recipe, output=Output())) if asked == "base" and asked not in recipe.sources else asked
    if label not in recipe.sources:
        hint = nearest(asked, (*recipe.sources, UNION))
        found.append(RecipeError(f"`{asked}` is no source", where="--tokenizer", hint=hint))
        return output
    return replace(output, tokenizer=label, union=False)


def merged_labels(recipe: Recipe, sources: Mapping[str, Source]) -> list[str]:
    """The models on disk that take part, in order of their first appearance."""
    return [label for label in dict.fromkeys(one for step in recipe.steps for one in labels(step)) if label in sources]


def _clashes(recipe: Recipe, sources: Sources) -> list[LigateError]:
    """Rows are merged by their number: a number must stand for the same token in every model."""
    merged = merged_labels(recipe, sources)
    lead = lead_of(recipe)
    there = sources[lead].folder if lead and lead in sources else None
    found: list[LigateError] = []
    for label in merged if there is not None else ():
        tensors = vocabulary_tensors(sources[label].headers())
        here = sources[label].folder
        clash = vocabulary_clash(there, here, tensors.rows) if there and here and tensors and label != lead else None
        if clash:
            text = f"its vocabulary is not that of `{lead}`: {clash}"
            hint = f"say which tokenizer the result gets: `output: {{tokenizer: union}}`, or `{lead}` or `{label}`."
            found.append(InputError(text, where=f"model {label}, {here}", hint=hint))
    return found


def _aligned(recipe: Recipe, sources: Sources, found: list[LigateError]) -> Aligned:
    lead = lead_of(recipe)
    if lead is None or lead not in sources:
        return Aligned(sources)  # which is told already
    merged = merged_labels(recipe, sources)
    asked = [row.model for row in recipe.output.tokens if row.model in sources]
    everyone = list(dict.fromkeys([lead, *merged, *(label for label in asked if label)]))
    tensors = {label: got for label in everyone if (got := vocabulary_tensors(sources[label].headers()))}
    known = _vocabularies(lead, everyone, sources, tensors)
    numbers = {label: vocabulary.numbers for label, vocabulary in known.items()}
    speakers = {label: speaker(label, one, numbers[label]) for label, one in tensors.items()}
    speaking = [speakers[label] for label in merged if label in speakers]
    output = recipe.output
    if not output.tokens and output.row_multiple == 1 and _agree(lead, merged, numbers, speaking):
        return Aligned(_views(sources, known, {}), lead, numbers=numbers)
    _require_rows(lead, merged, speakers, sources)
    content = _content(recipe, lead, merged, sources, known, speakers)
    wanted = json_numbers(content, known[lead].file) if content else numbers[lead]
    goal = target(wanted, speakers[lead].tensors.rows if lead in speakers else 0, output.row_multiple)
    wishes = Wishes(_base(recipe), {row.token: row for row in output.tokens})
    wrong = complaints(wishes, speaking, speakers)
    if wrong:
        found += wrong
        return Aligned(sources)
    givers = [one for label, one in speakers.items() if label not in merged]
    rows = layouts(goal, speaking, givers, wishes)
    views = _views(sources, known, rows)
    counts = {label: one.rows for label, one in tensors.items()}
    return Aligned(views, lead, content, goal, numbers, counts, tuple(notes(goal, speaking, wishes)))


def _views(sources: Sources, known: Mapping[str, Vocabulary], rows: Mapping[str, Mapping[str, Rows]]) -> Sources:
    """Also where no row moves, so that an interrupted merge knows that it depends on the tokenizer's file."""
    shown = {label: Reordered(sources[label], rows.get(label, {}), sources, [known[label].file]) for label in known}
    return Sources({**sources, **shown})


def _base(recipe: Recipe) -> str | None:
    base = recipe.steps[-1].base if recipe.steps else None
    return origin(recipe, base) if base else None


def _vocabularies(
    lead: str, everyone: Sequence[str], sources: Sources, tensors: Mapping[str, VocabularyTensors]
) -> Mapping[str, Vocabulary]:
    """A model without a tokenizer has the lead's, if it has as many rows."""
    found = {label: got for label in everyone if (got := _vocabulary(label, sources[label].folder)) is not None}
    if lead not in found:
        hint = "take the tokenizer from another model, or leave the setting out."
        raise InputError("holds no tokenizer", where=f"model {lead}, {sources[lead].folder}", hint=hint)
    for label in everyone:
        if label in found:
            continue
        if label in tensors and (lead not in tensors or tensors[label].rows != tensors[lead].rows):
            text = f"holds no tokenizer, so nobody knows for which tokens its {tensors[label].rows:,} rows stand"
            hint = "put its tokenizer's files beside its weights."
            raise InputError(text, where=f"model {label}, {sources[label].folder}", hint=hint)
        found[label] = found[lead]
    return found


def _vocabulary(label: str, folder: Path | None) -> Vocabulary | None:
    try:
        return vocabulary(folder) if folder else None
    except InputError as error:
        raise error.inside(model=label) from None


def _agree(lead: str, merged: Sequence[str], numbers: Mapping[str, Numbers], speaking: Sequence[Speaker]) -> bool:
    """Whether nothing has to move: as many rows, and each row stands for the same token."""
    same_rows = len({one.tensors.rows for one in speaking}) < 2
    return same_rows and all(numbers[label] == numbers[lead] for label in merged)


def _require_rows(lead: str, merged: Sequence[str], speakers: Mapping[str, Speaker], sources: Sources) -> None:
    if not any(label in speakers for label in merged):
        text = "no tensor with a row per token is known in it, so its vocabulary cannot be changed"
        where = f"model {merged[0]}, {sources[merged[0]].folder}"
        raise InputError(text, where=where, hint=f"the vocabularies differ from that of `{lead}`.")


def _content(
    recipe: Recipe,
    lead: str,
    merged: Sequence[str],
    sources: Sources,
    known: Mapping[str, Vocabulary],
    speakers: Mapping[str, Speaker],
) -> Content | None:
    """The result's `tokenizer.json`; None where the lead's files stay as they are."""
    have = set(known[lead].numbers.values())
    wanted = [row.token for row in recipe.output.tokens if row.token not in have]
    joining = [one for one in merged if one != lead and recipe.output.union and one in speakers]
    joining = [one for one in joining if any(token not in have for token in speakers[one].tokens)]
    if not wanted and not joining:
        return None
    first = _read(lead, sources, speakers)
    tokenizers = [_read(label, sources, speakers) for label in joining]
    givers = [
        _read(label, sources, speakers) for label in merged if wanted and (_folder(sources, label) / FILE).is_file()
    ]
    entries = {token: _entry(token, givers) for token in wanted}
    content = united(first, tokenizers, entries)
    return None if content is first.content else content


def _read(label: str, sources: Sources, speakers: Mapping[str, Speaker]) -> Tokenizer:
    rows = speakers[label].tensors.rows if label in speakers else 0
    return read_tokenizer(label, _folder(sources, label), rows)


def _folder(sources: Sources, label: str) -> Path:
    return sources[label].folder or Path()


def _entry(token: str, givers: Sequence[Tokenizer]) -> Content:
    """What a model that has added the token says of it."""
    entries = (entry for giver in givers for entry in added_entries(giver.content))
    return next((entry for entry in entries if entry["content"] == token), plain_entry(token))
