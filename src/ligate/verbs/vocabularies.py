"""Put the rows of models with different vocabularies together, before anything is planned: a view over each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Source
from ligate.io.rows import Reordered, Rows
from ligate.io.vocabulary import (
    Numbers,
    Vocabulary,
    is_same_tokenizer,
    json_numbers,
    vocabulary,
    vocabulary_clash,
)
from ligate.io.vocabulary_spelling import changes_of_text
from ligate.io.vocabulary_union import FILE, Content, Tokenizer, added_entries, plain_entry, read_tokenizer, united
from ligate.recipe.dialects.ligate_tokenizer import UNION
from ligate.recipe.resolve import origin
from ligate.recipe.schema import Output, Recipe
from ligate.recipe.slices import labels
from ligate.recipe.vocabulary import Speaker, Target, Wishes, complaints, layouts, notes, speaker, target
from ligate.recipe.vocabulary_tensors import VocabularyTensors, vocabulary_tensors

from .alike import Made, made_rows
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
    """Rows are merged by their number: a number must stand for the same token in every model, and in the donor.

    Each is compared with all before it: two may use a number that the lead does not use.
    """
    lead = lead_of(recipe)
    everyone = dict.fromkeys((lead or "", *merged_labels(recipe, sources), recipe.output.donor or ""))
    before: dict[str, Path] = {}
    found: list[LigateError] = []
    for label in (label for label in everyone if label in sources):
        tensors, here = vocabulary_tensors(sources[label].headers()), sources[label].folder
        if here is None or (tensors is None and label != lead):
            continue
        if any(is_same_tokenizer(there, here) for there in before.values()):
            continue
        rows = tensors.rows if tensors else 0
        clashes = ((other, vocabulary_clash(there, here, rows)) for other, there in before.items())
        other, clash = next((one for one in clashes if one[1]), ("", None))
        if clash:
            text = f"its vocabulary is not that of `{other}`: {clash}"
            union = "`output: {tokenizer: union}` or `--tokenizer union`"
            hint = f"say which tokenizer the result gets: {union}; in place of union, `{other}` or `{label}`."
            found.append(InputError(text, where=f"model {label}, {here}", hint=hint))
        before[label] = here
    return found


@dataclass(frozen=True)
class _Known:
    """The vocabularies of the models before anything moves. `speakers` are those that have rows for them."""

    lead: str
    merged: Sequence[str]
    sources: Sources
    vocabularies: Mapping[str, Vocabulary]
    speakers: Mapping[str, Speaker]

    @property
    def numbers(self) -> Mapping[str, Numbers]:
        return {label: one.numbers for label, one in self.vocabularies.items()}

    @property
    def speaking(self) -> Sequence[Speaker]:
        """Those that take part."""
        return [self.speakers[label] for label in self.merged if label in self.speakers]

    def rows(self, label: str) -> int:
        return self.speakers[label].tensors.rows if label in self.speakers else 0

    def folder(self, label: str) -> Path:
        return self.sources[label].folder or Path()


def _aligned(recipe: Recipe, sources: Sources, found: list[LigateError]) -> Aligned:
    lead = lead_of(recipe)
    if lead is None or lead not in sources or not merged_labels(recipe, sources):
        return Aligned(sources)  # which is told already
    known = _known(recipe, lead, sources)
    output = recipe.output
    counts = {label: known.rows(label) for label in known.speakers}
    if not output.tokens and output.row_multiple == 1 and _agree(known):
        there = Target(known.numbers[lead], known.speaking[0].tensors.rows) if known.speaking else None
        return Aligned(_views(known, {}), lead, target=there, numbers=known.numbers, rows=counts)
    _require_rows(known)
    content, told = _content(recipe, known)
    numbers = json_numbers(content, known.vocabularies[lead].file) if content else known.numbers[lead]
    goal = target(numbers, known.rows(lead), output.row_multiple)
    wishes = Wishes(_base(recipe), {row.token: row for row in output.tokens})
    wrong = complaints(wishes, known.speaking, known.speakers)
    if wrong:
        found += wrong
        return Aligned(sources)
    givers = [one for label, one in known.speakers.items() if label not in known.merged]
    made = _made(recipe, known, goal)
    wishes = replace(wishes, made={label: one.rows for label, one in made.items()})
    views = _views(known, layouts(goal, known.speaking, givers, wishes), made)
    told = (*told, *(one.note for one in made.values()), *notes(goal, known.speaking, wishes))
    return Aligned(views, lead, content, goal, known.numbers, counts, told)


def _known(recipe: Recipe, lead: str, sources: Sources) -> _Known:
    """Of the lead, of the models that take part, of those that a row is to come from; the donor's, if it has one."""
    merged = merged_labels(recipe, sources)
    named = [recipe.output.like, *(row.model for row in recipe.output.tokens)]
    givers = [label for label in named if label and label in sources]
    everyone = list(dict.fromkeys([lead, *merged, *givers]))
    donors = [label for label in (recipe.output.donor or "",) if label in sources and label not in everyone]
    tensors = {label: got for label in (*everyone, *donors) if (got := vocabulary_tensors(sources[label].headers()))}
    found = dict(_vocabularies(lead, everyone, sources, tensors))
    found |= {label: got for label in donors if (got := _vocabulary(label, sources[label].folder)) is not None}
    speakers = {label: speaker(label, one, found[label].numbers) for label, one in tensors.items() if label in found}
    return _Known(lead, merged, sources, found, speakers)


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


def _agree(known: _Known) -> bool:
    """Whether nothing has to move: as many rows, and each row stands for the same token."""
    same_rows = len({one.tensors.rows for one in known.speaking}) < 2
    return same_rows and all(known.numbers[label] == known.numbers[known.lead] for label in known.merged)


def _require_rows(known: _Known) -> None:
    if not known.speaking:
        label = known.merged[0]
        text = "no tensor with a row per token is known in it, so its vocabulary cannot be changed"
        where = f"model {label}, {known.sources[label].folder}"
        raise InputError(text, where=where, hint=f"the vocabularies differ from that of `{known.lead}`.")


def _made(recipe: Recipe, known: _Known, goal: Target) -> Mapping[str, Made]:
    """By label, rows for tokens that a model lacks, where the recipe names the model that says what is alike."""
    label = recipe.output.like
    if label is None:
        return {}
    if label not in known.speakers:
        text = "no tensor with a row per token is known in it, so it cannot say which tokens are alike"
        raise RecipeError(text, where=str(recipe.output.place)).inside(model=label)
    like, knows = known.speakers[label], known.sources[label]
    found = {
        one.label: made_rows(goal, one, known.sources[one.label], like, knows, recipe.output.nearest)
        for one in known.speaking
    }
    return {label: one for label, one in found.items() if one is not None}


def _views(known: _Known, rows: Mapping[str, Mapping[str, Rows]], made: Mapping[str, Made] | None = None) -> Sources:
    """Also where no row moves, so that an interrupted merge knows that it depends on the tokenizer's file."""
    sources = known.sources
    givers = {**sources, **{one.source.label: one.source for one in (made or {}).values()}}
    shown = {
        label: Reordered(sources[label], rows.get(label, {}), givers, one.files)
        for label, one in known.vocabularies.items()
    }
    return Sources({**sources, **shown})


def _base(recipe: Recipe) -> str | None:
    base = recipe.steps[-1].base if recipe.steps else None
    return origin(recipe, base) if base else None


def _content(recipe: Recipe, known: _Known) -> tuple[Content | None, tuple[str, ...]]:
    """The result's `tokenizer.json`, None where the lead's files stay as they are; and what to know of it."""
    have = set(known.numbers[known.lead].values())
    wanted = [row.token for row in recipe.output.tokens if row.token not in have]
    joining = [one.label for one in known.speaking if recipe.output.union and not have.issuperset(one.tokens)]
    if not wanted and not joining:
        return None, ()
    givers = [_read(label, known) for label in known.merged if wanted and _has_file(known.sources[label])]
    entries = {token: _entry(token, givers) for token in wanted}
    first, others = _read(known.lead, known), [_read(label, known) for label in joining]
    return united(first, others, entries), tuple(_changed_texts(first, others))


def _changed_texts(first: Tokenizer, others: Sequence[Tokenizer]) -> list[str]:
    """The union changes text before it looks for tokens as its first tokenizer does."""
    does = changes_of_text(first.content)
    differing = {one.label: found for one in others if (found := changes_of_text(one.content)) != does}
    return [
        f"text is prepared as `{first.label}` does it ({_listed(does)}), not as `{label}` does ({_listed(found)})"
        for label, found in differing.items()
    ]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "unchanged"


def _has_file(source: Source) -> bool:
    return source.folder is not None and (source.folder / FILE).is_file()


def _read(label: str, known: _Known) -> Tokenizer:
    return read_tokenizer(label, known.folder(label), known.rows(label))


def _entry(token: str, givers: Sequence[Tokenizer]) -> Content:
    """What a model that has added the token says of it."""
    entries = (entry for giver in givers for entry in added_entries(giver.content))
    return next((entry for entry in entries if entry["content"] == token), plain_entry(token))
