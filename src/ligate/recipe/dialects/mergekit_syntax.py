"""mergekit's config as written: what stands where and in which line, before any of it is given a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Place

from .mergekit_references import Reference, reference
from .mergekit_tokenizer import AskedTokenizer, asked_tokenizer

PARAMETERS = (
    *("weight", "density", "normalize", "rescale", "lambda", "int8_mask", "t", "scale", "gamma", "epsilon"),
    *("select_topk", "nuslerp_flatten", "nuslerp_row_wise", "normalize_weights", "eps", "max_iter", "tol"),
    *("filter_wise", "r", "alpha"),
)
"""Every parameter of any method of mergekit 0.1.5."""

TOP = (
    *("name", "merge_method", "base_model", "models", "slices", "modules", "parameters"),
    *("dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template", "random_seed"),
)
MODEL = ("model", "parameters")
SOURCE = ("model", "layer_range", "parameters")
SLICE = ("sources", "base_model", "residual_weight", "parameters")
MODULE = ("models", "slices", "parameters")
FILTER = ("filter", "value")

_HOMES = {
    **dict.fromkeys(PARAMETERS, "under `parameters:`"),
    **dict.fromkeys(TOP, "at the top of the config"),
    **dict.fromkeys(("layer_range", "sources"), "in `slices:`, whose `sources:` name models with a `layer_range:`"),
    "model": "in `models:`, or in the `sources:` of a slice",
    "parameters": "beside `model:`, in a slice, or at the top of the config",
    "lora": "to its model: `model: path+lora`",
    "out_path": "on the command line: `ligate merge CONFIG OUT`; for a later merge of the same file give it a `name:`",
}
_OLD = {"pattern": "under the name `filter:`, as mergekit calls it by now"}


@dataclass(frozen=True)
class Given:
    """One parameter as written: a value, or values spread over the layers, for tensors whose name holds `filter`."""

    name: str
    values: tuple[Item, ...]
    spread: bool
    filter: str | None
    place: Place


class Layers(NamedTuple):
    """Layers first to end - 1 of a model."""

    first: int
    end: int
    place: Place


@dataclass(frozen=True)
class Input:
    """A model that takes part, the layers it gives (None: all), its own parameters."""

    model: Reference
    layers: Layers | None
    given: tuple[Given, ...]
    place: Place


@dataclass(frozen=True)
class Slice:
    inputs: tuple[Input, ...]
    base: Reference | None
    given: tuple[Given, ...]
    place: Place


@dataclass(frozen=True)
class Document:
    """One merge. `given` are the parameters of the module, if any, before those of the whole config."""

    fields: Mapping[str, Item]
    name: str | None
    method: str
    base: Reference | None
    inputs: tuple[Input, ...]
    slices: tuple[Slice, ...]
    given: tuple[Given, ...]
    tokenizer: AskedTokenizer | None
    place: Place


def document(reading: Reading, item: Item, notes: list[str]) -> Document:
    """Take one YAML document apart; problems go to `reading`, harmless oddities to `notes`."""
    fields = reading.fields(item, "a mergekit config", TOP, _HOMES)
    method = fields.get("merge_method")
    if method is None and not reading.misspelt(item, "merge_method"):
        reading.problem("`merge_method:` is missing", item.place)
    body, module = _body(reading, fields, item)
    return Document(
        fields,
        reading.text(fields.get("name"), "`name`"),
        reading.text(method, "`merge_method`") or "",
        reference(reading, fields.get("base_model"), notes),
        tuple(_model(reading, entry, notes) for entry in reading.entries(body.get("models"), "`models`")),
        tuple(_slice(reading, entry, notes) for entry in reading.entries(body.get("slices"), "`slices`")),
        (*module, *_parameters(reading, fields.get("parameters"))),
        asked_tokenizer(reading, fields, notes),
        method.place if method else item.place,
    )


def _body(reading: Reading, fields: Mapping[str, Item], around: Item) -> tuple[Mapping[str, Item], tuple[Given, ...]]:
    """Where `models` or `slices` stand: at the top, or in the only module; with the module's parameters."""
    _one_of(reading, fields, ("models", "slices", "modules"), around)
    modules = fields.get("modules")
    if modules is None:
        return fields, ()
    found = reading.fields(modules, "`modules`")
    others = [name for name in found if name != "default"]
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        hint = "with `models:` at the top every tensor is merged, of whichever part of the model"
        reading.problem(f"merging by module ({names}) is not available yet", found[others[0]].place, hint)
    if "default" not in found:
        return {}, ()
    inside = reading.fields(found["default"], "a module", MODULE, _HOMES)
    _one_of(reading, inside, ("models", "slices"), found["default"])
    return inside, _parameters(reading, inside.get("parameters"))


def _one_of(reading: Reading, fields: Mapping[str, Item], keys: Sequence[str], around: Item) -> None:
    present = [key for key in keys if key in fields]
    spoken = " or ".join(", ".join(f"`{key}:`" for key in keys).rsplit(", ", 1))
    if len(present) > 1:
        both = " and ".join(f"`{key}:`" for key in present)
        reading.problem(f"{both} exclude each other", fields[present[-1]].place, f"keep one of {spoken}")
    elif not present and not any(reading.misspelt(around, key) for key in keys):
        reading.problem(f"nothing to merge: {spoken} is missing", around.place)
    elif present and not fields[present[0]].value:
        reading.problem(f"`{present[0]}:` is empty", fields[present[0]].place)


def _model(reading: Reading, item: Item, notes: list[str]) -> Input:
    fields = reading.fields(item, "an entry of `models`", MODEL, _HOMES)
    return Input(_needed_model(reading, fields, item, notes), None, _own(reading, fields), item.place)


def _slice(reading: Reading, item: Item, notes: list[str]) -> Slice:
    fields = reading.fields(item, "a slice", SLICE, _HOMES)
    sources = fields.get("sources")
    if sources is None or not sources.value:
        reading.problem("a slice needs `sources:`", item.place)
    if "residual_weight" in fields:
        notes.append(f"{fields['residual_weight'].place}: `residual_weight` has no effect, as in mergekit")
    return Slice(
        tuple(_source(reading, entry, notes) for entry in reading.entries(sources, "`sources`")),
        reference(reading, fields.get("base_model"), notes),
        _own(reading, fields),
        sources.place if sources else item.place,
    )


def _source(reading: Reading, item: Item, notes: list[str]) -> Input:
    fields = reading.fields(item, "a source", SOURCE, _HOMES)
    model = _needed_model(reading, fields, item, notes)
    return Input(model, _layers(reading, fields.get("layer_range"), item), _own(reading, fields), item.place)


def _needed_model(reading: Reading, fields: Mapping[str, Item], around: Item, notes: list[str]) -> Reference:
    found = reference(reading, fields.get("model"), notes)
    absent = fields.get("model") is None or fields["model"].value is None
    if found is None and absent and not reading.misspelt(around, "model"):
        reading.problem("`model:` is missing", around.place, "a folder, or org/name on the Hub")
    return found or Reference("")


def _layers(reading: Reading, item: Item | None, around: Item) -> Layers:
    hint = "[first, end]: layers first to end - 1 are taken"
    if item is None:
        if not reading.misspelt(around, "layer_range"):
            reading.problem("`layer_range:` is missing", around.place, hint)
        return Layers(0, 1, around.place)
    ends = [reading.whole(entry, "`layer_range`", 0) for entry in reading.entries(item, "`layer_range`")]
    if len(ends) != 2:
        reading.problem("`layer_range` must be two numbers", item.place, hint)
        return Layers(0, 1, item.place)
    if not 0 <= ends[0] < ends[1]:
        reading.problem(f"`layer_range` [{ends[0]}, {ends[1]}] takes no layer", item.place, hint)
    return Layers(ends[0], ends[1], item.place)


def _own(reading: Reading, fields: Mapping[str, Item]) -> tuple[Given, ...]:
    return _parameters(reading, fields.get("parameters"))


def _parameters(reading: Reading, item: Item | None) -> tuple[Given, ...]:
    fields = reading.fields(item, "`parameters`")
    return tuple(given for name, entry in fields.items() for given in _given(reading, name, entry))


def _given(reading: Reading, name: str, item: Item) -> list[Given]:
    """A scalar, a list over the layers, one filter, or several of which the first that matches counts."""
    if isinstance(item.value, Mapping):
        return _filtered(reading, name, item)
    if isinstance(item.value, Sequence) and not isinstance(item.value, str):
        if any(isinstance(entry.value, Mapping) for entry in item.value):
            found = [given for entry in item.value for given in _filtered(reading, name, entry)]
            _check_reachable(reading, found)
            return found
        return _spread(reading, name, item, None, item.place)
    return _spread(reading, name, item, None, item.place)


def _filtered(reading: Reading, name: str, item: Item) -> list[Given]:
    fields = reading.fields(item, f"an entry of `{name}`", FILTER, _OLD)
    if not isinstance(item.value, Mapping):
        return []
    if "value" not in fields:
        if not reading.misspelt(item, "value"):
            reading.problem(f"an entry of `{name}` needs a `value:`", item.place)
        return []
    written = reading.text(fields.get("filter"), "`filter`")
    place = fields["filter"].place if "filter" in fields else fields["value"].place
    return _spread(reading, name, fields["value"], None if written in ("*", "") else written, place)


def _spread(reading: Reading, name: str, item: Item, pattern: str | None, place: Place) -> list[Given]:
    if item.value is None or isinstance(item.value, Mapping):
        reading.wrong(item, f"`{name}`", "a value, a list over the layers, or filters")
        return []
    if isinstance(item.value, (str, int, float)):
        return [Given(name, (item,), False, pattern, place)]
    if not item.value:
        reading.problem(f"`{name}` is an empty list", item.place)
    for entry in item.value:
        if not isinstance(entry.value, (str, int, float)):
            reading.wrong(entry, f"an element of `{name}`", "a plain value")
    return [Given(name, tuple(item.value), True, pattern, place)] if item.value else []


def _check_reachable(reading: Reading, found: Sequence[Given]) -> None:
    """mergekit takes the first entry that matches: nothing behind an entry without filter is ever used."""
    for number, given in enumerate(found):
        if given.filter is None and number < len(found) - 1:
            later = found[number + 1]
            text = f"`{given.name}`: `{later.filter or 'this value'}` is never reached"
            hint = f"line {given.place.line} above speaks of every tensor; put it last"
            reading.problem(text, later.place, hint)
            return
