"""A recipe in our own dialect with every default written out: what records, model cards and replays hold.

Paths are left to the caller: a record names sources by label, an interrupted merge remembers where they lie.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml

from ligate.core.method import Card
from ligate.core.params import Param
from ligate.recipe.dialects.ligate_tokenizer import UNION
from ligate.recipe.schema import (
    AdapterSpec,
    AlignSpec,
    Gradient,
    MeasuredSpec,
    Output,
    Recipe,
    Setting,
    Slice,
    SourceSpec,
    Step,
    TokenRow,
)

Lookup = Callable[[str], Card]
Located = SourceSpec | AdapterSpec | AlignSpec
Paths = Callable[[Located, str], str]
"""(source, adapter or alignment, its label) -> what stands under `path:`."""


def by_label(spec: Located, label: str) -> str:
    return label


def as_written(spec: Located, label: str) -> str:
    return spec.path


def canonical(recipe: Recipe, lookup: Lookup, paths: Paths = by_label) -> dict[str, Any]:
    """Plain data that our own dialect reads back as the same recipe, whatever dialect it came in."""
    steps = [_step(step, lookup) for step in recipe.steps]
    names = {step.name for step in recipe.steps}
    sources = {label: _source(spec, paths, names) for label, spec in recipe.sources.items()}
    merges = {"merge": steps[0]} if len(steps) == 1 else {"steps": steps}
    learned = {"learned": dict(recipe.learned)} if recipe.learned else {}
    return {"sources": sources, **merges, "output": _output(recipe.output), "seed": recipe.seed, **learned}


def adapter_label(label: str, number: int) -> str:
    """How the record calls the adapters of a source: `a+1`, `a+2`."""
    return f"{label}+{number}"


def alignment_label(label: str) -> str:
    """How the record calls the alignment of a source: `b+alignment`."""
    return f"{label}+alignment"


def as_yaml(data: Mapping[str, Any]) -> str:
    """For people; lists of plain values stay on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Block style, except for lists and mappings of plain values that are short."""

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        sequence = list(sequence)
        plain = all(isinstance(item, (str, int, float)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _source(spec: SourceSpec, paths: Paths, steps: set[str | None]) -> dict[str, Any]:
    data: dict[str, Any] = {"path": spec.path if spec.path in steps else paths(spec, spec.label)}
    if spec.revision:
        data["revision"] = spec.revision
    if spec.adapters:
        data["adapter"] = [
            _adapter(adapter, paths(adapter, adapter_label(spec.label, number)))
            for number, adapter in enumerate(spec.adapters, 1)
        ]
    if spec.strip_prefix:
        data["strip_prefix"] = spec.strip_prefix
    if spec.alias:
        data["alias"] = dict(spec.alias)
    if spec.fill:
        data["fill"] = spec.fill
    if spec.align:
        data["align"] = _align(spec.align, paths(spec.align, alignment_label(spec.label)))
    return data


def _align(align: AlignSpec, path: str) -> str | dict[str, Any]:
    """A saved alignment by its path; one that is to be found by what it takes to find it again."""
    if align.path:
        return path
    files = {key: path for key, path in (("groups", align.groups), ("data", align.data)) if path}
    return {"to": align.to, "method": align.method, "seed": align.seed, "starts": align.starts, **files}


def _adapter(adapter: AdapterSpec, path: str) -> dict[str, Any]:
    revision = {"revision": adapter.revision} if adapter.revision else {}
    return {"path": path, **revision, "scale": adapter.scale}


def _step(step: Step, lookup: Lookup) -> dict[str, Any]:
    card = lookup(step.method)
    data: dict[str, Any] = {"name": step.name} if step.name else {}
    data["method"] = card.id
    if step.base:
        data["base"] = step.base
    data["models"] = list(step.models)
    if step.dtype:
        data["dtype"] = step.dtype
    shared = not any(one.method for one in step.slices)  # else a default could reach a slice of another method
    parameters = _parameters(step.settings, card.params if shared else {})
    if parameters:
        data["parameters"] = parameters
    if step.measured:
        data["measured"] = _measured(step.measured)
    if step.slices:
        data["slices"] = [_slice(one, lookup) for one in step.slices]
    return data


def _measured(specs: Sequence[MeasuredSpec]) -> dict[str, Any]:
    """A label, or a label for each model, under each keyword."""
    data: dict[str, Any] = {}
    for spec in specs:
        if spec.model is None:
            data[spec.name] = spec.source
        else:
            data.setdefault(spec.name, {})[spec.model] = spec.source
    return data


def _slice(one: Slice, lookup: Lookup) -> dict[str, Any]:
    data: dict[str, Any] = {"layers": {part.model: [part.start, part.stop] for part in one.models}}
    if one.method:
        data["method"] = lookup(one.method).id
    if one.base:
        data["base"] = one.base
    if one.stack:
        data["stack"] = one.stack
    if one.settings:
        data["parameters"] = _parameters(one.settings, {})
    return data


def _parameters(settings: Sequence[Setting], params: Mapping[str, Param]) -> dict[str, Any]:
    """Values by parameter: as set, in the order of their precedence; the default where they leave it open."""
    told: dict[str, Any] = {}
    for name in dict.fromkeys((*params, *(setting.name for setting in settings))):
        mine = [setting for setting in settings if setting.name == name]
        param = params.get(name)
        if param is not None and not param.required and not any(_for_all(setting) for setting in mine):
            mine.append(Setting(name, param.default))
        if mine:
            told[name] = _values(mine)
    return told


def _for_all(setting: Setting) -> bool:
    return setting.model is None and setting.match is None


def _values(settings: Sequence[Setting]) -> Any:
    if len(settings) == 1 and _for_all(settings[0]):
        return _value(settings[0])
    if all(setting.model is not None and setting.match is None for setting in settings):
        first = {setting.model: setting for setting in reversed(settings)}  # the first setting of a model wins
        return {setting.model: _value(first[setting.model]) for setting in settings}
    last = settings[-1]
    listed = _patterns(settings[:-1] if _can_end(last) else settings)
    return [*listed, _value(last)] if _can_end(last) else listed


def _patterns(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """An entry for each setting, or for several in a row that differ in nothing but the model."""
    found: list[dict[str, Any]] = []
    for setting in settings:
        key = "match_source" if setting.in_source and setting.match is not None else "match"
        glob, value = _glob(setting), _value(setting)
        before = found[-1] if found and found[-1].get(key) == glob else {}
        if setting.model is not None and isinstance(before.get("value"), dict) and setting.model not in before["value"]:
            before["value"][setting.model] = value
        else:
            found.append({key: glob, "value": value if setting.model is None else {setting.model: value}})
    return found


def _can_end(setting: Setting) -> bool:
    return _for_all(setting) and not isinstance(setting.value, Gradient)


def _glob(setting: Setting) -> str:
    if setting.match is None:
        return "*"
    return f"*{glob.escape(setting.match)}*" if setting.style == "substring" else setting.match


def _value(setting: Setting) -> Any:
    return list(setting.value.values) if isinstance(setting.value, Gradient) else setting.value


def _output(output: Output) -> dict[str, Any]:
    data: dict[str, Any] = {"dtype": output.dtype} if output.dtype else {}
    if output.shard_bytes is not None:
        whole = output.shard_bytes % 10**9 == 0
        data["shard_size"] = f"{output.shard_bytes // 10**9}GB" if whole else str(output.shard_bytes)
    if output.donor:
        data["donor"] = output.donor
    if output.tokenizer or output.union:
        data["tokenizer"] = _tokenizer(output)
    if output.chat_template:
        data["chat_template"] = output.chat_template
    if output.drop:
        data["drop"] = list(output.drop)
    return data


def _tokenizer(output: Output) -> str | dict[str, Any]:
    """As a word where nothing else is said."""
    source = output.tokenizer or UNION
    if not output.tokens and output.row_multiple == 1 and not output.like:
        return source
    rows = {"tokens": {row.token: _token_row(row) for row in output.tokens}} if output.tokens else {}
    alike = {"like": output.like, **({"nearest": output.nearest} if output.nearest else {})} if output.like else {}
    return {"source": source, **rows, **alike, "pad_to_multiple_of": output.row_multiple}


def _token_row(row: TokenRow) -> dict[str, Any]:
    other = {"id" if isinstance(row.other, int) else "token": row.other} if row.other is not None else {}
    source = {"model": row.model, **other} if row.kind == "model" else row.kind
    return {**({} if row.kind == "default" else {"source": source}), "force": row.force}
