"""What the result's config.json must say differently from its donor's: layer counts, per-layer lists, dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ligate.core.errors import InputError
from ligate.core.tensors import Source, torch_name
from ligate.io.config import edited
from ligate.io.documents import read_object

from .architecture import (
    COUNT_KEYS,
    INNER_SECTIONS,
    LAYER_NUMBERS,
    LAYER_RHYTHMS,
    LEADING_COUNTS,
    PER_LAYER,
    SECTIONS,
    STACK_COUNT_KEYS,
    shared_in_first,
)
from .resolve import earlier_step
from .schema import Recipe, Step
from .slices import Origin, layers_of, origins
from .slices import labels as step_labels

Config = Mapping[str, Any]


class ConfigEdits(NamedTuple):
    """Values by path of keys (`text_config.num_hidden_layers`), and what a person should look at."""

    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class _Followed(NamedTuple):
    """A config on its way through the steps, with every edit made so far."""

    config: Config
    values: Mapping[str, Any]
    notes: tuple[str, ...]


def config_edits(recipe: Recipe, step: Step, sources: Mapping[str, Source]) -> ConfigEdits:
    """The edits for the result of a step; reads the config.json of the models whose layers are taken.

    Raises:
        InputError: a config does not tell what the layers of the result need.
    """
    found = _of_step(recipe, step, sources)
    values = dict(found.values)
    if step is recipe.steps[-1] and recipe.output.dtype:
        values["torch_dtype"] = torch_name(recipe.output.dtype)
    return ConfigEdits(values, found.notes)


def _of_label(recipe: Recipe, label: str, sources: Mapping[str, Source]) -> _Followed:
    step = earlier_step(recipe, label)
    if step is not None:
        return _of_step(recipe, step, sources)
    folder = sources[label].folder
    path = folder / "config.json" if folder else None
    return _Followed(read_object(path) if path and path.is_file() else {}, {}, ())


def _of_step(recipe: Recipe, step: Step, sources: Mapping[str, Source]) -> _Followed:
    """The config of the base, or else of the first model, with the layers that the step's slices give it."""
    lead = step.base or step.models[0]
    config, values, notes = _of_label(recipe, lead, sources)
    if not step.slices or not config:
        return _Followed(config, values, notes)
    headers = {label: sources[label].headers() for label in step_labels(step)}
    others = {label: _of_label(recipe, label, sources).config for label in headers if label != lead}
    for stack, found in origins(step, headers).items():
        place = _section(config, stack)
        tables = {label: _table(other, place) for label, other in {lead: config, **others}.items()}
        own = layers_of(headers[lead]).get(stack, {})
        edits = _stack_edits(_Stack(stack, len(own), found, lead), tables)
        placed = {f"{place}.{key}" if place else key: value for key, value in edits.items()}
        config, values = edited(config, placed), {**values, **placed}
        notes = (*notes, *_rhythms(tables[lead], found), *_only_once(stack, own, found))
    return _Followed(config, values, tuple(dict.fromkeys(notes)))


class _Stack(NamedTuple):
    """A stack of layers: its name, how many layers the lead model has in it, whence each layer of the result comes."""

    name: str
    depth: int
    found: Sequence[Origin]
    lead: str


def _stack_edits(stack: _Stack, tables: Mapping[str, Config]) -> Mapping[str, Any]:
    """Lists with a value or a number per layer, then the count, which must not contradict them when it is set."""
    table = tables[stack.lead]
    edits: dict[str, Any] = {}
    for key, value in table.items():
        if key in PER_LAYER and isinstance(value, (list, str)) and len(value) == stack.depth:
            values = [_value(stack, tables, origin, key) for origin in stack.found]
            edits[key] = "".join(values) if isinstance(value, str) else values
        elif key in LAYER_NUMBERS and isinstance(value, list):
            edits[key] = [
                place
                for place, origin in enumerate(stack.found)
                if origin.layer in (tables[origin.model].get(key) or ())
            ]
        elif key in LEADING_COUNTS and isinstance(value, int):
            edits[key] = _leading(stack, tables, key)
    return edits | dict.fromkeys(_count_keys(stack, table), len(stack.found))


def _value(stack: _Stack, tables: Mapping[str, Config], origin: Origin, key: str) -> Any:
    values = tables[origin.model].get(key)
    if isinstance(values, (list, str)) and origin.layer < len(values):
        return values[origin.layer]
    raise InputError(
        f"its config has no `{key}` for layer {origin.layer}, the one of `{stack.lead}` has",
        where=f"model {origin.model}",
        hint="slices combine models whose configs tell the same things of their layers",
    )


def _leading(stack: _Stack, tables: Mapping[str, Config], key: str) -> int:
    """How many layers of the kind that the key counts there are; they must still stand before all others."""
    counted = [origin.layer < (tables[origin.model].get(key) or 0) for origin in stack.found]
    if counted == sorted(counted, reverse=True):
        return sum(counted)
    place = counted.index(False) + counted[counted.index(False) :].index(True)
    origin = stack.found[place]
    raise InputError(
        f"its layer {origin.layer} would be layer {place} of the result, behind layers of another kind (`{key}`)",
        where=f"model {origin.model}",
        hint="layers that are counted like this can only come first: begin the slices with them, or leave them out",
    )


def _count_keys(stack: _Stack, table: Config) -> list[str]:
    """The keys that count the layers of this stack; in a model with two stacks by the stack's name."""
    words = stack.name.split(".")
    role = next((role for role in STACK_COUNT_KEYS if role in words), "")
    own = [key for key in STACK_COUNT_KEYS.get(role, ()) if key in table]
    common = [key for key in COUNT_KEYS if table.get(key) == stack.depth]
    found = own if role == "decoder" and own else [*own, *common]
    if not found and len(stack.found) != stack.depth:
        raise InputError(
            f"no key of its config counts the {stack.depth} layers of `{stack.name}`",
            where=f"model {stack.lead}",
            hint=f"known are {', '.join(COUNT_KEYS)}",
        )
    return found


def _section(config: Config, stack: str) -> str:
    """The nested table that speaks of a stack; empty for the config itself."""
    named = [section for part, sections in SECTIONS.items() if part in stack for section in sections]
    inner = () if any(key in config for key in COUNT_KEYS) else INNER_SECTIONS
    return next((section for section in (*named, *inner) if isinstance(config.get(section), dict)), "")


def _table(config: Config, section: str) -> Config:
    return config.get(section, {}) if section else config


def _rhythms(table: Config, found: Sequence[Origin]) -> list[str]:
    if all(origin.layer == place for place, origin in enumerate(found)):
        return []
    return [
        f"config.json tells a layer's kind from its number (`{key}: {table[key]}`), and slices move layers: look at it"
        for key in LAYER_RHYTHMS
        if isinstance(table.get(key), int) and table[key] > 1
    ]


def _only_once(stack: str, layers: Mapping[int, Mapping[str, str]], found: Sequence[Origin]) -> list[str]:
    """Tensors that a model has in one layer only: moved or doubled, they are not found."""
    where: dict[str, list[int]] = {}
    shared = shared_in_first(layers)
    for number, rests in layers.items():
        for rest in rests:
            if rest not in shared:
                where.setdefault(rest, []).append(number)
    single = {numbers[0]: rest for rest, numbers in where.items() if len(numbers) == 1 < len(layers)}
    return [
        f"`{rest}` stands only in layer {number} of `{stack}`, and the slices move or repeat that layer: look at it"
        for number, rest in sorted(single.items())
        if [place for place, origin in enumerate(found) if origin.layer == number] != [number]
    ]
