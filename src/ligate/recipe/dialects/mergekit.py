"""mergekit's dialect: a config written for mergekit 0.1.5 means the same here, with exact numbers.

What mergekit ignores without a word is an error when it must be a mistake, and a note of the recipe when it does no
harm. docs/mergekit.md lists every intended difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Output, Place, Recipe, SourceSpec, TokenRow

from . import mergekit_models as models
from . import mergekit_syntax as syntax
from .ligate_tokenizer import UNION
from .mergekit_references import Reference
from .mergekit_step import dtype, step
from .mergekit_syntax import Document
from .mergekit_templates import template
from .mergekit_tokenizer import AskedRow

Names = Mapping[str, Document]
Labels = Mapping[Reference, str]
_TOKENS = ("tokenizer_source", "tokenizer", "chat_template")


def read(documents: Sequence[Item]) -> Recipe:
    """The recipe in one document, or in several of which some use others by `name:`; `problems` holds all errors."""
    reading = Reading()
    notes: list[str] = []
    merges = [syntax.document(reading, item, notes) for item in documents]
    names = _names(reading, merges)
    ordered = _ordered(reading, merges, names)
    used = [reference for merge in ordered for reference, _ in _references(merge) if reference.path not in names]
    labels = models.labels(used, {*names, UNION})  # the record says `tokenizer: union`
    sources = _sources(reading, ordered, names, labels)
    steps = tuple(step(reading, notes, merge, labels, last=merge is ordered[-1]) for merge in ordered)
    output = _output(reading, notes, ordered, names, labels)
    seed = _seed(reading, notes, ordered[-1])
    if reading.problems:
        steps = tuple(replace(one, whole=False) for one in steps)
    found = tuple(reading.problems)
    return Recipe(sources, steps, output, seed=seed, dialect="mergekit", notes=tuple(notes), problems=found)


def _names(reading: Reading, merges: Sequence[Document]) -> Names:
    found: dict[str, Document] = {}
    for extra in [merge for merge in merges if not merge.name][1:]:
        reading.problem("a second merge without a `name:`", extra.place, "only the result has none")
    for merge in merges:
        if merge.name and merge.name in found:
            reading.problem(f"two merges have the name `{merge.name}`", merge.fields["name"].place, "rename one")
        elif merge.name:
            found[merge.name] = merge
    return found


def _ordered(reading: Reading, merges: Sequence[Document], names: Names) -> list[Document]:
    """The merges that the result needs, each after those it uses. The result has no name, or stands last."""
    result = next((merge for merge in merges if not merge.name), merges[-1])
    ordered: list[Document] = []

    def visit(merge: Document, above: tuple[Document, ...]) -> None:
        for reference, place in _references(merge):
            used = names.get(reference.path)
            if used in above:
                reading.problem(f"`{reference.path}` needs itself", place, "merges cannot go in a circle")
            elif used is not None and used not in ordered:
                visit(used, (*above, used))
        ordered.append(merge)

    visit(result, (result,))
    for merge in merges:
        if merge.name and merge not in ordered:
            hint = "only the result is written: a model that you want to keep needs a config of its own"
            reading.problem(f"`{merge.name}` is never used by the result", merge.fields["name"].place, hint)
    return ordered


def _references(merge: Document) -> Iterator[tuple[Reference, Place]]:
    """The models of a merge: base, inputs, those of the slices, the tokenizer's."""
    if merge.base:
        yield merge.base, merge.fields["base_model"].place
    yield from ((one.model, one.place) for one in merge.inputs)
    for entry in merge.slices:
        if entry.base:
            yield entry.base, entry.place
        yield from ((one.model, one.place) for one in entry.inputs)
    if merge.tokenizer:
        yield from merge.tokenizer.models()


def _sources(reading: Reading, ordered: Sequence[Document], names: Names, labels: Labels) -> Mapping[str, SourceSpec]:
    found: dict[str, SourceSpec] = {}
    for merge in ordered:
        for reference, place in _references(merge):
            if reference in labels:
                label = labels[reference]
                found.setdefault(label, models.source(reference, label, place))
            elif reference != Reference(reference.path):
                text = f"a revision of, or an adapter on `{reference.path}`, a merge of this file, is not available yet"
                reading.problem(text, place, "merge it with a config of its own first")
    return found


def _output(reading: Reading, notes: list[str], ordered: Sequence[Document], names: Names, labels: Labels) -> Output:
    """Config and tokenizer come from the result's base, else its first model; if that is a merge, from its own."""
    result = ordered[-1]
    line = _donor_line(result, names)
    donor = _donor(line[-1])
    asked = next((merge.tokenizer for merge in line if merge.tokenizer), None)
    tokenizer = asked and (donor if asked.source == "base" else _on_disk(asked.source, names))
    templates = [template(reading, merge.fields.get("chat_template")) for merge in line]
    for merge in ordered[:-1]:
        unheard = ("random_seed",) if merge in line else ("random_seed", *_TOKENS)
        _note_unheard(notes, merge, unheard)
    return Output(
        dtype(reading, result),
        donor=labels.get(donor) if donor else None,
        tokenizer=labels.get(tokenizer) if tokenizer else None,
        chat_template=next((text for text in templates if text), None),
        union=asked is not None and asked.source == "union",
        tokens=tuple(_row(reading, one, labels) for one in asked.rows) if asked else (),
        row_multiple=asked.row_multiple if asked else 1,
        place=result.place,
    )


def _row(reading: Reading, asked: AskedRow, labels: Labels) -> TokenRow:
    if asked.model is None:
        return asked.row
    label = labels.get(asked.model)
    if label is None and asked.model.path:
        text = f"the row of {asked.row.token!r} cannot come from `{asked.model.path}`, a merge of this file"
        reading.problem(text, asked.row.place, "name a model on disk")
    return asked.row._replace(model=label)


def _donor_line(result: Document, names: Names) -> list[Document]:
    """The result, the merge that gives it its config, and so on, down to one whose donor is a model on disk."""
    line = [result]
    while (donor := _donor(line[-1])) is not None and donor.path in names and names[donor.path] not in line:
        line.append(names[donor.path])
    return line


def _donor(merge: Document) -> Reference | None:
    inputs = (*merge.inputs, *(one for entry in merge.slices for one in entry.inputs))
    return merge.base or next((one.model for one in inputs), None)


def _on_disk(reference: Reference | str, names: Names) -> Reference | None:
    """The model itself; for a merge of this file the one that gives it its config. None for a word."""
    if isinstance(reference, str):
        return None
    return _donor(_donor_line(names[reference.path], names)[-1]) if reference.path in names else reference


def _note_unheard(notes: list[str], merge: Document, keys: Sequence[str]) -> None:
    unheard = [key for key in keys if key in merge.fields]
    notes += [f"{merge.fields[key].place}: `{key}` of `{merge.name}` has no effect on the result" for key in unheard]


def _seed(reading: Reading, notes: list[str], result: Document) -> int:
    item = result.fields.get("random_seed")
    if item is not None:
        notes.append(f"{item.place}: `random_seed` is the seed here; mergekit ignores it (it has `--random-seed`)")
    return reading.whole(item, "`random_seed`", 0)
