"""Our own dialect: sources, one step (`merge`) or several (`steps`), output."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import spoken_dtype
from ligate.recipe import unet_blocks
from ligate.recipe.nodes import Item, Reading, plain_data
from ligate.recipe.schema import (
    AdapterSpec,
    AlignSpec,
    Gradient,
    MeasuredSpec,
    Output,
    Place,
    Recipe,
    Setting,
    Slice,
    SliceModel,
    SourceSpec,
    Step,
    Value,
)

from .ligate_data import data
from .ligate_search import search
from .ligate_tokenizer import UNION, tokenizer

TOP = ("sources", "data", "search", "merge", "steps", "output", "seed", "learned")
SOURCE = ("path", "revision", "adapter", "strip_prefix", "alias", "fill", "align")
ADAPTER = ("path", "revision", "scale")
ALIGN = ("path", "to", "method", "seed", "starts", "groups", "data")
STEP = ("name", "method", "base", "models", "parameters", "measured", "slices", "dtype")
SLICE = ("layers", "method", "base", "parameters", "stack")
OUTPUT = ("dtype", "shard_size", "donor", "tokenizer", "chat_template", "drop")
FILTER = ("match", "match_source", "value")

_HOMES = {
    **dict.fromkeys(("sources", "data", "search", "merge", "steps", "output", "seed"), "at the top of the recipe"),
    **dict.fromkeys(OUTPUT, "under `output:`"),
    **dict.fromkeys(("method", "base", "models", "parameters", "measured", "slices"), "under `merge:` or in a step"),
    **dict.fromkeys(("revision", "adapter", "strip_prefix", "alias", "fill", "align", "path"), "in a source"),
}
_HUB_ID = re.compile(r"([\w-][\w.-]*(?:/[\w.-]+)?)@([\w./-]+)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kmgt]?i?b?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def read(documents: Sequence[Item]) -> Recipe:
    """The recipe in the only document; `problems` holds all that is wrong with it."""
    reading = _Labels()
    if len(documents) > 1:
        reading.problem("a second document (`---`)", documents[1].place, "several merges are a list under `steps:`")
    top = reading.fields(documents[0], "a recipe", TOP, _HOMES)
    sources = {
        label: _source(reading, label, item)
        for label, item in reading.fields(_needed(reading, top, "sources", documents[0]), "`sources`").items()
    }
    output = _output(reading, top.get("output"))
    names_known = not reading.problems
    examples = data(reading, top.get("data"))
    sources, steps = _with_measured(sources, _steps(reading, top, documents[0]))
    seed = reading.whole(top.get("seed"), "`seed`", 0)
    sought = search(reading, top.get("search"), steps)
    steps = _check_names(reading, sources, steps, output)
    account = plain_data(top["learned"]) if reading.fields(top.get("learned"), "`learned`") else {}
    problems = tuple(reading.problems)
    return Recipe(
        sources,
        steps,
        output,
        seed,
        problems=problems,
        names_known=names_known,
        data=examples,
        search=sought,
        learned=account,
    )


class _Labels(Reading):
    """A reading that remembers where each label of a model is used first."""

    def __init__(self) -> None:
        super().__init__()
        self.used_at: dict[str, Place] = {}

    def label(self, item: Item | None, what: str) -> str | None:
        label = self.text(item, what)
        if item is not None and label is not None:
            self.used_at.setdefault(label, item.place)
        return label


def _needed(reading: Reading, fields: Mapping[str, Item], key: str, around: Item) -> Item | None:
    if (key not in fields or fields[key].value is None) and not reading.misspelt(around, key):
        place = fields[key].place if key in fields else around.place
        reading.problem(f"`{key}:` is missing", place)
    return fields.get(key)


def _source(reading: _Labels, label: str, item: Item) -> SourceSpec:
    if isinstance(item.value, str):
        path, revision = split_revision(item.text)
        return SourceSpec(label, path, revision, place=item.place)
    fields = reading.fields(item, f"source `{label}`", SOURCE, _HOMES)
    path, revision = _location(reading, fields, f"source `{label}`", item)
    alias = {
        name: reading.text(target, f"alias `{name}`") or ""
        for name, target in reading.fields(fields.get("alias"), "`alias`").items()
    }
    prefix = reading.text(fields.get("strip_prefix"), "`strip_prefix`") or ""
    adapters = _adapters(reading, fields.get("adapter"))
    fill = reading.label(fields.get("fill"), "`fill`")
    align = _align(reading, fields.get("align"))
    return SourceSpec(label, path, revision, adapters, prefix, alias, fill, item.place, align)


def _location(reading: Reading, fields: Mapping[str, Item], what: str, around: Item) -> tuple[str, str | None]:
    written = reading.text(fields.get("path"), "`path`")
    if not written and not reading.misspelt(around, "path"):
        reading.problem(f"{what} needs a `path:`", around.place, "a folder, a file, or org/name on the Hub")
    path, revision = split_revision(written or "")
    return path, reading.text(fields.get("revision"), "`revision`") or revision


def _adapters(reading: Reading, item: Item | None) -> tuple[AdapterSpec, ...]:
    if item is None or item.value is None:
        return ()
    one = isinstance(item.value, (str, Mapping))
    return tuple(_adapter(reading, entry) for entry in ([item] if one else reading.entries(item, "`adapter`")))


def _adapter(reading: Reading, item: Item) -> AdapterSpec:
    if isinstance(item.value, str):
        return AdapterSpec(*split_revision(item.text))
    fields = reading.fields(item, "an adapter", ADAPTER)
    path, revision = _location(reading, fields, "an adapter", item)
    return AdapterSpec(path, revision, reading.number(fields.get("scale"), "`scale`", 1.0))


def _align(reading: _Labels, item: Item | None) -> AlignSpec | None:
    if item is None or item.value is None:
        return None
    if isinstance(item.value, str):
        return AlignSpec(item.text)
    fields = reading.fields(item, "`align`", ALIGN)
    path, to = reading.text(fields.get("path"), "`path`"), reading.label(fields.get("to"), "`to`")
    if (path is None) == (to is None) and not any(reading.misspelt(item, key) for key in ("path", "to")):
        hint = "`align: FILE` applies a saved alignment, `align: {to: LABEL}` finds one"
        reading.problem("`align` needs either `path` or `to`", item.place, hint)
    starts = reading.whole(fields.get("starts"), "`starts`", AlignSpec.starts)
    if starts < 1:
        reading.problem("`starts` must be at least 1", fields["starts"].place)
    return AlignSpec(
        path or "",
        to,
        reading.text(fields.get("method"), "`method`") or AlignSpec.method,
        reading.whole(fields.get("seed"), "`seed`", AlignSpec.seed),
        starts,
        reading.text(fields.get("groups"), "`groups`"),
        reading.text(fields.get("data"), "`data`"),
    )


def split_revision(text: str) -> tuple[str, str | None]:
    """`org/name@revision` in its parts; anything that can only be a local path stays whole."""
    found = None if text.startswith((".", "/", "~")) else _HUB_ID.fullmatch(text)
    return (found[1], found[2]) if found else (text, None)


def _steps(reading: _Labels, top: Mapping[str, Item], around: Item) -> tuple[Step, ...]:
    if "merge" in top and "steps" in top:
        reading.problem("both `merge:` and `steps:`", top["steps"].place, "one merge, or a list of steps")
    if "steps" not in top:
        item = _needed(reading, top, "merge", around)
        one = (_step(reading, item),) if item is not None and item.value is not None else ()
        return _without_dtype(reading, one)
    steps = tuple(_step(reading, item) for item in reading.entries(top["steps"], "`steps`"))
    if not steps:
        reading.problem("`steps` is empty", top["steps"].place)
    for step in steps[:-1]:
        if not step.name:
            reading.problem("each step but the last needs a `name:`", step.place, "a later step uses it as a source")
    return _without_dtype(reading, steps)


def _without_dtype(reading: Reading, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if steps and steps[-1].dtype:
        reading.problem("`dtype` of the result belongs under `output:`", steps[-1].place)
    return steps


def _step(reading: _Labels, item: Item) -> Step:
    before = len(reading.problems)
    fields = reading.fields(item, "a merge", STEP, _HOMES, "parameters of the method belong under `parameters:`")
    slices = tuple(_slice(reading, entry) for entry in reading.entries(fields.get("slices"), "`slices`"))
    base = reading.label(fields.get("base"), "`base`")
    models = _labels(reading, fields.get("models"))
    method = reading.text(_needed(reading, fields, "method", item), "`method`") or ""
    if "models" not in fields and not slices and not reading.misspelt(item, "models"):
        reading.problem("`models:` is missing", item.place, "list the labels of the sources to merge")
    if slices:
        found = dict.fromkeys(part.model for entry in slices for part in entry.models)
        models = models or tuple(label for label in found if label != base)
    return Step(
        method,
        models,
        base,
        name=reading.text(fields.get("name"), "`name`"),
        settings=_settings(reading, fields.get("parameters")),
        slices=slices,
        dtype=_dtype(reading, fields.get("dtype")),
        measured=_measured(reading, fields.get("measured")),
        place=fields["method"].place if "method" in fields else item.place,
        whole=len(reading.problems) == before,
    )


def _measured(reading: Reading, item: Item | None) -> tuple[MeasuredSpec, ...]:
    """`fisher: {a: PATH, b: PATH}` or `numbers: PATH`; in place of a path may stand the label of a source."""
    found: list[MeasuredSpec] = []
    for name, entry in reading.fields(item, "`measured`").items():
        by_model = isinstance(entry.value, Mapping)
        each = reading.fields(entry, f"`{name}`") if by_model else {None: entry}
        for model, one in each.items():
            path = reading.text(one, f"`{name}`")
            if path:
                found.append(MeasuredSpec(name, path, model, one.place))
            elif one.value is None:
                reading.problem(f"`{name}` names no source", one.place, "give the path of a file or a folder")
    return tuple(found)


def _with_measured(
    sources: Mapping[str, SourceSpec], steps: Sequence[Step]
) -> tuple[dict[str, SourceSpec], tuple[Step, ...]]:
    """A source of its own for each measured path that is no label: `a+fisher`, or `merge+numbers`."""
    known, found = dict(sources), list[Step]()
    for step in steps:
        measured: list[MeasuredSpec] = []
        for spec in step.measured:
            label = spec.source if spec.source in sources else _measured_label(spec, step, known)
            known.setdefault(label, SourceSpec(label, *split_revision(spec.source), place=spec.place))
            measured.append(spec._replace(source=label))
        found.append(replace(step, measured=tuple(measured)))
    return known, tuple(found)


def _measured_label(spec: MeasuredSpec, step: Step, known: Mapping[str, SourceSpec]) -> str:
    label = f"{spec.model or step.name or 'merge'}+{spec.name}"
    place = split_revision(spec.source)
    numbered = (label, *(f"{label}+{number}" for number in range(2, len(known) + 3)))
    return next(one for one in numbered if one not in known or (known[one].path, known[one].revision) == place)


def _labels(reading: _Labels, item: Item | None) -> tuple[str, ...]:
    labels = [(reading.label(entry, "a model") or "", entry) for entry in reading.entries(item, "`models`")]
    seen: set[str] = set()
    for label, entry in labels:
        if label in seen:
            reading.problem(f"model `{label}` is listed twice", entry.place, "give it more weight instead")
        seen.add(label)
    return tuple(dict.fromkeys(label for label, _ in labels))


def _slice(reading: _Labels, item: Item) -> Slice:
    fields = reading.fields(item, "a slice", SLICE, _HOMES)
    layers = reading.fields(_needed(reading, fields, "layers", item), "`layers`")
    return Slice(
        tuple(_range(reading, label, entry) for label, entry in layers.items()),
        _settings(reading, fields.get("parameters")),
        reading.text(fields.get("method"), "`method`"),
        reading.label(fields.get("base"), "`base`"),
        reading.text(fields.get("stack"), "`stack`"),
        item.place,
    )


def _range(reading: _Labels, label: str, item: Item) -> SliceModel:
    reading.used_at.setdefault(label, item.place)
    ends = [reading.whole(entry, f"layers of `{label}`", 0) for entry in reading.entries(item, f"layers of `{label}`")]
    if len(ends) != 2:
        reading.problem(f"layers of `{label}` must be [first, end]", item.place, "layers first to end - 1 are taken")
        ends = [0, 1]
    return SliceModel(label, ends[0], ends[1], item.place)


def _settings(reading: Reading, item: Item | None) -> tuple[Setting, ...]:
    fields = reading.fields(item, "`parameters`")
    return tuple(setting for name, entry in fields.items() for setting in _values(reading, Setting(name, None), entry))


def _values(reading: Reading, so_far: Setting, item: Item) -> list[Setting]:
    """Settings in the order of their precedence: a value, a list over the layers, by model, or by name pattern."""
    so_far = replace(so_far, place=item.place)
    if isinstance(item.value, Mapping):
        by_block = unet_blocks.KEY in item.value
        return _by_block(reading, so_far, item) if by_block else _by_model(reading, so_far, item.value)
    if isinstance(item.value, (str, int, float)) or item.value is None:
        return [replace(so_far, value=item.value)]
    if any(isinstance(entry.value, Mapping) for entry in item.value):
        return _by_pattern(reading, so_far, item.value)
    if not item.value:
        reading.problem(f"`{so_far.name}` is an empty list", item.place)
    values = [_plain(reading, so_far.name, entry) for entry in item.value]
    return [replace(so_far, value=Gradient(tuple(values)))] if values and None not in values else []


def _by_model(reading: Reading, so_far: Setting, fields: Mapping[str, Item]) -> list[Setting]:
    place = so_far.place
    if FILTER[0] in fields and "value" in fields:
        reading.problem(f"`{so_far.name}` has a pattern outside a list", place, "write `- {match: ..., value: ...}`")
        return []
    if so_far.model is not None:
        reading.problem(f"`{so_far.name}` of `{so_far.model}` must be a number, a list or patterns", place)
        return []
    return [
        setting for label, entry in fields.items() for setting in _values(reading, replace(so_far, model=label), entry)
    ]


def _by_block(reading: Reading, so_far: Setting, item: Item) -> list[Setting]:
    """One number for each block of a U-Net."""
    fields = reading.fields(item, f"`{so_far.name}` by block", (unet_blocks.KEY,))
    entries = reading.entries(fields.get(unet_blocks.KEY), f"`{unet_blocks.KEY}`")
    numbers = [reading.number(entry, f"`{so_far.name}` of a block", 0.0) for entry in entries]
    if so_far.match is not None:
        reading.problem(f"`{so_far.name}`: blocks inside a pattern", item.place)
        return []
    try:
        return unet_blocks.block_settings(so_far, numbers)
    except RecipeError as error:
        reading.problem(error.problem, item.place, error.hint)
        return []


def _by_pattern(reading: Reading, so_far: Setting, entries: Sequence[Item]) -> list[Setting]:
    found: list[Setting] = []
    for number, entry in enumerate(entries):
        if isinstance(entry.value, Mapping) and unet_blocks.KEY in entry.value:
            found += _values(reading, so_far, entry)
        elif isinstance(entry.value, Mapping):
            found += _filter(reading, so_far, entry)
        else:
            found += _values(reading, so_far, entry)
        if number < len(entries) - 1 and not isinstance(entry.value, Mapping):
            hint = "patterns come first, the value for the rest last"
            reading.problem(f"`{so_far.name}`: nothing after this value is used", entry.place, hint)
    return found


def _filter(reading: Reading, so_far: Setting, item: Item) -> list[Setting]:
    fields = reading.fields(item, f"a pattern of `{so_far.name}`", FILTER)
    value = _needed(reading, fields, "value", item)
    key = "match_source" if "match_source" in fields else "match"
    match = reading.text(_needed(reading, fields, key, item), f"`{key}`")
    if len(fields) == len(FILTER):
        reading.problem(f"`{so_far.name}`: both `match` and `match_source`", item.place, "keep one of them")
    if so_far.match is not None:
        reading.problem(f"`{so_far.name}`: a pattern inside a pattern", item.place)
    if value is None:
        return []
    return _values(reading, replace(so_far, match=match, in_source=key != "match"), replace(value, place=item.place))


def _plain(reading: Reading, name: str, item: Item) -> Value:
    if isinstance(item.value, (str, int, float)):
        return item.value
    reading.problem(f"`{name}`: a list over the layers holds plain values, not {item.kind}", item.place)
    return None


def _output(reading: _Labels, item: Item | None) -> Output:
    fields = reading.fields(item, "`output`", OUTPUT, _HOMES)
    drop = fields.get("drop")
    one = drop is not None and isinstance(drop.value, str)
    asked = tokenizer(reading, reading.label, fields.get("tokenizer"))
    globs = [drop] if drop is not None and one else reading.entries(drop, "`drop`")
    return Output(
        _dtype(reading, fields.get("dtype")),
        _size(reading, fields.get("shard_size")),
        reading.label(fields.get("donor"), "`donor`"),
        asked.tokenizer,
        tuple(reading.text(glob, "`drop`") or "" for glob in globs),
        chat_template=reading.text(fields.get("chat_template"), "`chat_template`"),
        union=asked.union,
        tokens=asked.tokens,
        row_multiple=asked.row_multiple,
        like=asked.like,
        nearest=asked.nearest,
        place=item.place if item else Place(),
    )


def _dtype(reading: Reading, item: Item | None) -> str | None:
    written = reading.text(item, "`dtype`")
    if item is None or written is None:
        return None
    name = spoken_dtype(written)
    if name is None:
        known = ("float16", "bfloat16", "float32", "float64")
        reading.problem(f"`{written}` is no dtype that can be written", item.place, nearest(written, known))
    return name


def _size(reading: Reading, item: Item | None) -> int | None:
    written = reading.text(item, "`shard_size`")
    if item is None or written is None:
        return None
    found = _SIZE.fullmatch(written.strip())
    size = round(float(found[1]) * _UNITS[found[2].lower().removesuffix("b")]) if found else 0
    if size < 1:
        reading.problem(f"`shard_size` must be a size such as 5GB, not {written!r}", item.place)
        return None
    return size


def _check_names(
    reading: _Labels, sources: Mapping[str, SourceSpec], steps: Sequence[Step], output: Output
) -> tuple[Step, ...]:
    """Every label names something that exists by then, and everything that exists is used; the steps, judged so."""
    before = len(reading.problems)
    judged: list[Step] = []
    known = dict.fromkeys(sources, "source")
    wishes = [("token", row.model) for row in output.tokens] + [("like", output.like)]
    wishes += [("fill", spec.fill) for spec in sources.values()]
    wishes += [("to", spec.align.to) for spec in sources.values() if spec.align]
    used = {output.donor, output.tokenizer, *(label for _, label in wishes)}
    used |= {spec.path for spec in sources.values()}  # which may be a step's name
    for step in steps:
        so_far = len(reading.problems)
        used |= _check_step_names(reading, step, known)
        judged.append(replace(step, whole=step.whole and len(reading.problems) == so_far))
        if step.name and step.name in known:
            reading.problem(f"a step has the name of the {known[step.name]} `{step.name}`", step.place, "rename it")
        elif step.name:
            known[step.name] = "step"
    for key, label in (("donor", output.donor), ("tokenizer", output.tokenizer), *wishes):
        if label is not None and label not in sources:
            place = reading.used_at.get(label, output.place)
            reading.problem(f"`{key}: {label}` is no source", place, nearest(label, sources))
    for spec in sources.values():
        giver = sources.get(spec.fill or "")
        if giver and (giver is spec or {spec.path, giver.path} & {step.name for step in steps}):
            hint = "both are models that go in, two of them, and no result of a step"
            reading.problem(f"source `{spec.label}` cannot be filled from `{spec.fill}`", spec.place, hint)
    _check_aligned(reading, sources, {step.name for step in steps})
    if output.union and UNION in sources:
        text = f"`tokenizer: {UNION}` takes the tokens of all models, and a source has this name too"
        reading.problem(text, output.place, "give the source another name")
    if steps and len(reading.problems) == before and all(step.whole for step in judged):  # else it would be told twice
        _check_used(reading, sources, steps, used)
    return tuple(judged)


def _check_aligned(reading: Reading, sources: Mapping[str, SourceSpec], steps: Collection[str | None]) -> None:
    """Models are aligned before the first step, each to one that is not."""
    for spec in sources.values():
        goal = sources.get(spec.align.to or "") if spec.align else None
        if spec.align and (spec.path in steps or (goal and goal.path in steps)):
            hint = "align the models that go into the step"
            reading.problem(f"source `{spec.label}` cannot be aligned: a step makes it", spec.place, hint)
        elif goal and (goal is spec or goal.align):
            text = f"source `{spec.label}` cannot be aligned to `{goal.label}`"
            reading.problem(text, spec.place, "align all models to one that stays as it is")


def _check_used(
    reading: Reading, sources: Mapping[str, SourceSpec], steps: Sequence[Step], used: set[str | None]
) -> None:
    unused = [("source", label, spec.place) for label, spec in sources.items() if label not in used]
    unused += [("step", step.name, step.place) for step in steps[:-1] if step.name and step.name not in used]
    for kind, label, place in unused:
        reading.problem(f"{kind} `{label}` is never used", place, "name it where it is needed, or remove it")


def _check_step_names(reading: _Labels, step: Step, known: Mapping[str, str]) -> set[str]:
    """Tells of wrong labels in one step; returns all that it uses."""
    sliced = [label for entry in step.slices for label in (entry.base, *(part.model for part in entry.models))]
    used = [label for label in dict.fromkeys((step.base, *step.models, *sliced)) if label]
    for label in used if known else ():  # without sources something worse is wrong, which is told
        if label not in known:
            reading.problem(f"`{label}` is no source", reading.used_at.get(label, step.place), nearest(label, known))
    settings = (*step.settings, *(setting for entry in step.slices for setting in entry.settings))
    for setting in settings if step.models else ():  # without models something worse is wrong, which is told
        if setting.model is not None and setting.model not in used:
            text = f"`{setting.name}` is set for `{setting.model}`, which this merge does not use"
            taken = [
                label for label in used if label in known
            ] or used  # never another misspelt one, if it can be helped
            way = f"name it under `models:`, or leave out this `{setting.name}`"
            reading.problem(text, setting.place, way if setting.model in known else nearest(setting.model, taken))
    if step.base is not None and step.base in step.models:
        reading.problem(f"`{step.base}` is both the base and a model", step.place, "leave it out of `models:`")
    return {*used, *(spec.source for spec in step.measured)}
