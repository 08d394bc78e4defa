"""`data:` of a recipe: what a merge is learned or measured from. `bench own` reads its tasks alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

from ligate.core.suggest import nearest
from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import DataKind, DataSpec, DataTask, MeasuredHow, Place

DATA = ("kind", "tasks", "length", "share", "batch", "per_class", "test_inputs", "how")
_SOURCE = ("data", "dataset", "config", "split", "columns")
TASK: Mapping[str, tuple[str, ...]] = {
    "classification": (*_SOURCE, "classes"),
    "sequence-classification": (*_SOURCE, "classes"),
    "causal-lm": _SOURCE,
    "image-classification": (*_SOURCE, "classes", "prompts"),
}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "classification": ("text", "label", "source"),
    "sequence-classification": ("text", "pair", "label", "source"),
    "causal-lm": ("text", "source"),
    "image-classification": ("image", "label", "source"),
}
LENGTH: Mapping[str, int] = {"classification": 64, "sequence-classification": 128, "causal-lm": 256}
PROMPTS = ("a photo of a {}.",)
FEWEST_TOKENS = 4
Kind = TypeVar("Kind", bound=str)

_OPTIONAL = ("source", "pair")
_HOMES = {
    **dict.fromkeys(DATA, "under `data:`"),
    **dict.fromkeys(("data", "dataset", "config", "split", "columns", "classes", "prompts"), "in a task of `data:`"),
    **dict.fromkeys(("text", "pair", "label", "source", "image"), "under `columns:`"),
}


def data(reading: Reading, item: Item | None) -> DataSpec | None:
    """What is told under `data:`; None where nothing is."""
    if item is None or item.value is None:
        return None
    fields = reading.fields(item, "`data`", DATA, _HOMES)
    kind = kind_of(reading, needed(reading, fields, "kind", item), get_args(DataKind))
    asked = needed(reading, fields, "tasks", item)
    tasks = [_task(reading, kind, name, each) for name, each in reading.fields(asked, "`tasks`").items()]
    if asked is not None and isinstance(asked.value, Mapping) and not tasks:
        reading.problem("`tasks:` is empty: there is nothing to learn from", asked.place, "name a task and its `data:`")
    limit = at_least(reading, fields, "per_class", 1, 0)
    return DataSpec(
        kind,
        tuple(tasks),
        at_least(reading, fields, "length", FEWEST_TOKENS, LENGTH.get(kind, 0)),
        _share(reading, fields.get("share")),
        at_least(reading, fields, "batch", 1, DataSpec.batch),
        limit or None,
        _flag(reading, fields.get("test_inputs"), "`test_inputs`"),
        _how(reading, fields.get("how")),
        item.place,
    )


def needed(reading: Reading, fields: Mapping[str, Item], key: str, around: Item) -> Item | None:
    """A key that must be there."""
    item = fields.get(key)
    if (item is None or item.value is None) and not reading.misspelt(around, key):
        reading.problem(f"`{key}:` is missing", item.place if item else around.place)
    return item


def kind_of(reading: Reading, item: Item | None, known: Sequence[Kind]) -> Kind | DataKind:
    written = reading.text(item, "`kind`")
    for kind in known:
        if written == kind:
            return kind
    if item is not None and written is not None:
        reading.problem(f"there is no kind '{written}'", item.place, nearest(written, known))
    return "classification"


def columns(reading: Reading, kind: str, item: Item | None, around: Item) -> tuple[dict[str, str], Place]:
    """Which column of the data is what; a column that is not named has the name of what it holds."""
    known = COLUMNS[kind]
    fields = reading.fields(item, "`columns`", known, otherwise=f"a task of kind {kind} reads {', '.join(known)}")
    default = {what: what for what in known if what not in _OPTIONAL}
    named = {what: reading.text(each, f"the column of the {what}") or what for what, each in fields.items()}
    return {**default, **named}, item.place if item else around.place


def classes(reading: Reading, name: str, item: Item | None) -> dict[str, str] | None:
    """Labels as the data have them, and the phrase for each: the label itself where none is given."""
    if item is None or item.value is None:
        return None
    before = len(reading.problems)
    if isinstance(item.value, Mapping):
        found = {label: reading.text(each, f"class `{label}`") or label for label, each in item.value.items()}
    else:
        labels = [reading.text(each, "a class") or "" for each in reading.entries(item, "`classes`")]
        found = {label: label.replace("_", " ") for label in labels}
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            reading.problem(f"class `{twice[0]}` stands twice in task `{name}`", item.place)
    if len(found) < 2 and len(reading.problems) == before:
        reading.problem(f"task `{name}` has one class: there is nothing to tell apart", item.place)
    return found


def prompts(reading: Reading, item: Item | None) -> tuple[str, ...]:
    if item is None:
        return PROMPTS
    one = isinstance(item.value, str)
    written = [reading.text(each, "a prompt") or "" for each in ([item] if one else reading.entries(item, "`prompts`"))]
    for text in written:
        if text.count("{}") != 1:
            reading.problem(f"the prompt '{text}' has no place `{{}}` for the class", item.place)
    return tuple(written)


def _task(reading: Reading, kind: DataKind, name: str, item: Item) -> DataTask:
    fields: Mapping[str, Item] = {"data": item}
    if not isinstance(item.value, str):
        fields = reading.fields(
            item, f"task `{name}`", (*TASK[kind], "weight"), _HOMES, f"a task of kind {kind} has none"
        )
    named, place = columns(reading, kind, fields.get("columns"), item)
    file, dataset = (reading.text(fields.get(key), f"`{key}`") or "" for key in ("data", "dataset"))
    if file and dataset:
        reading.problem("both `data:` and `dataset:`", fields["dataset"].place, "a file, or a data set by its id")
    elif not file and not dataset and not reading.misspelt(item, "data"):
        reading.problem(f"task `{name}` has no `data:`", item.place, "a CSV, JSONL or Parquet file")
    for key in ("config", "split"):
        if file and key in fields:
            reading.problem(f"`{key}` is for a `dataset:`", fields[key].place, "a file is read whole")
    return DataTask(
        name,
        file,
        dataset,
        reading.text(fields.get("config"), "`config`") or "",
        reading.text(fields.get("split"), "`split`") or ("train" if dataset else ""),
        named,
        classes(reading, name, fields.get("classes")),
        prompts(reading, fields.get("prompts")),
        reading.number(fields.get("weight"), "`weight`", DataTask.weight),
        item.place,
        place,
    )


def _share(reading: Reading, item: Item | None) -> float:
    share = reading.number(item, "`share`", DataSpec.share)
    if item is not None and not 0 < share < 1:
        reading.problem("`share` must be between 0 and 1", item.place, "0.5: half of the examples decide when to stop")
        return DataSpec.share
    return share


def at_least(reading: Reading, fields: Mapping[str, Item], key: str, least: int, default: int) -> int:
    value = reading.whole(fields.get(key), f"`{key}`", default)
    if key in fields and value < least:
        reading.problem(f"`{key}` must be at least {least}", fields[key].place)
        return default
    return value


def _how(reading: Reading, item: Item | None) -> MeasuredHow | None:
    """How Fisher information is measured, if the recipe says so."""
    written = reading.text(item, "`how`")
    for how in get_args(MeasuredHow):
        if written == how:
            return how
    if item is not None and written is not None:
        known = ", ".join(get_args(MeasuredHow))
        reading.problem(f"`how` must be one of {known}. Got '{written}' instead.", item.place)
    return None


def _flag(reading: Reading, item: Item | None, what: str) -> bool:
    if item is not None and not isinstance(item.value, bool):
        reading.wrong(item, what, "true or false")
    return item is not None and item.value is True
