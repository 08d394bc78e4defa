"""A step of a recipe and its opened sources become a plan. Reads headers only, and tells every problem at once."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ligate.core.errors import LigateError, RecipeError, raise_all
from ligate.core.suggest import nearest
from ligate.core.tensors import Header, Source
from ligate.engine.plan import Operand, Out, Plan
from ligate.io.folder import INDEX

from .findings import Findings, Tell, listed
from .measured import Measurements
from .outs import Maker, Store
from .parts import Headers, Part, same_name_rows
from .review import Cards, Lookup, review_step
from .schema import Gradient, Recipe, Setting, Step
from .settings import applies
from .slices import labels as step_labels
from .slices import sliced_parts

_SHARD = 5_000_000_000  # bytes
_ANY_SIZE = 1 << 62
_DIGEST = re.compile(r"hash|sha256|digest", re.IGNORECASE)


def step_order(recipe: Recipe) -> tuple[Step, ...]:
    """The steps in the order in which they run; each uses only sources and earlier steps, the last is the result."""
    return recipe.steps


def donor(recipe: Recipe, step: Step) -> str:
    """The label of the source whose config, tokenizer and metadata the result gets."""
    return origin(recipe, recipe.output.donor or step.base or step.models[0])


def origin(recipe: Recipe, label: str) -> str:
    """The source behind a label: where an earlier step's result takes its dtypes and its config from."""
    while step := earlier_step(recipe, label):
        label = step.base or step.models[0]
    return label


def earlier_step(recipe: Recipe, label: str) -> Step | None:
    """The step whose result the label names, by itself or as the path of a source."""
    spec = recipe.sources.get(label)
    name = spec.path if spec else label
    return next((step for step in recipe.steps if step.name == name), None)


def resolve(recipe: Recipe, step: Step, sources: Mapping[str, Source], lookup: Lookup) -> Plan:
    """The plan of one step. `sources` holds what its labels name, results of earlier steps included."""
    findings = Findings()
    cards = Cards(step, lookup, findings)
    review_step(step, cards, findings)
    labels = step_labels(step)
    headers = {label: sources[label].headers() for label in labels}
    kept, dropped = _without_dropped(recipe.output.drop, headers)
    parts = _parts(step, kept, cards, findings)
    measured = Measurements(step, sources, labels)
    outs = _outs(parts, sources, kept, _store(recipe, step, sources), measured, findings)
    if step is recipe.steps[-1]:
        _check_drop(recipe, sources, findings)
    if parts and not any(part.rows for part in parts):
        findings.add(RecipeError("no tensor is left to merge", where=str(step.place)))
    raise_all(findings.errors())
    giver = sources[donor(recipe, step)]
    if step.slices:
        dropped += _outside_slices(kept, outs)
    return Plan((*labels, *measured.labels), outs, dropped, recipe.seed, _shard_bytes(recipe, giver), _metadata(giver))


def compared(recipe: Recipe, step: Step, sources: Mapping[str, Source]) -> tuple[LigateError, ...]:
    """What the models of a step say against merging them, where there can be no plan: those at hand, headers only."""
    labels = step_labels(step)
    headers = {label: sources[label].headers() for label in labels if label in sources}
    if step.slices and not (step.whole and len(headers) == len(labels)):
        return ()  # which layers lie beside which is not known
    findings = Findings()
    kept, _ = _without_dropped(recipe.output.drop, headers)
    base = step.base if step.base in kept else None
    bare = replace(step, base=base, models=tuple(label for label in kept if label != base), settings=())
    index = {label: number for number, label in enumerate(kept)}
    for part in _parts(bare, kept, None, findings):
        maker = Maker(part, sources, kept, index, lambda label, name, header: header.dtype)
        for row in part.rows:
            if recipe.names_known or None not in row.inputs:
                maker.out(row, findings)
    return findings.errors()


def _parts(step: Step, headers: Headers, cards: Cards | None, findings: Findings) -> list[Part]:
    """The layout of a step; without `cards` only its tensors matter."""
    if step.slices:
        return sliced_parts(step, headers, cards.of_slice if cards else lambda entry: None, findings)
    rows = same_name_rows(headers, tuple(headers))
    return [Part(cards.of_step if cards else None, step.base, step.models, step.settings, rows, step.place)]


def _outs(
    parts: Sequence[Part],
    sources: Mapping[str, Source],
    headers: Headers,
    store: Store,
    measured: Measurements,
    findings: Findings,
) -> tuple[Out, ...]:
    index = {label: number for number, label in enumerate(headers)}
    outs: list[Out] = []
    met: set[Setting] = set()
    spread: set[Setting] = set()
    wrong: list[str] = []
    for part in parts:
        maker = Maker(part, sources, headers, index, store)
        made = [(row, maker.out(row, findings)) for row in part.rows]
        outs += (measured.added(part, row, out, findings) for row, out in made if out is not None)
        wrong += (row.name for row, out in made if out is None)
        if maker.values:
            met |= maker.values.met
            spread |= maker.values.spread
    settings = dict.fromkeys(setting for part in parts if part.card for setting in part.settings)
    spoken_of = (setting for setting in settings if not _meant(setting, wrong))
    _check_met(spoken_of, met, spread, outs, findings)
    if outs:
        measured.check_met(findings)
    return tuple(outs)


def _meant(setting: Setting, wrong: Sequence[str]) -> bool:
    """Whether a pattern speaks of tensors of which something worse is told."""
    return setting.match is not None and any(map(applies(setting), wrong))


def _check_met(
    settings: Iterable[Setting], met: set[Setting], spread: set[Setting], outs: Sequence[Out], findings: Findings
) -> None:
    """Each pattern must match a tensor, each gradient must meet a layer; else the recipe does not do what it says."""
    for setting in settings:
        where = str(setting.place)
        if setting.match is not None and setting not in met:
            hint = nearest(setting.match.strip("*."), {word for out in outs for word in out.name.split(".")})
            findings.repeated((setting.spoken, where, hint), f"`{setting.match}`", _unmet(setting.spoken, where, hint))
        elif isinstance(setting.value, Gradient) and len(setting.value.values) > 1 and setting not in spread:
            text = f"`{setting.spoken}` is spread over layers, but speaks of no tensor in a layer"
            findings.add(RecipeError(text, where=where, hint="give it one value"))


def _unmet(parameter: str, where: str, hint: str) -> Tell:
    """One problem of all patterns of one place, as a list of numbers per block makes them."""
    return lambda patterns: RecipeError(
        f"`{parameter}`: no merged tensor matches {listed(patterns)}", where=where, hint=hint
    )


def _store(recipe: Recipe, step: Step, sources: Mapping[str, Source]) -> Store:
    """Output dtype: as asked for; else an intermediate result is not rounded, the last one is stored as its origin."""
    last = step is recipe.steps[-1]
    asked = recipe.output.dtype if last else step.dtype
    if asked:
        return lambda label, name, header: asked
    if not last:
        return lambda label, name, header: "F64" if header.native == "F64" else "F32"
    origins = {label: sources[origin(recipe, label)].headers() for label in step_labels(step)}
    return lambda label, name, header: origins[label].get(name, header).native


def is_one_file(donor: Source) -> bool:
    """Whether a model is a file without a folder around it, as image models often are; so is what is made of it."""
    files = donor.files()
    return donor.folder is None and bool(files) and not any(file.name.endswith(INDEX) for file in files)


def _shard_bytes(recipe: Recipe, donor: Source) -> int:
    if recipe.output.shard_bytes is not None:
        return recipe.output.shard_bytes
    return _ANY_SIZE if is_one_file(donor) else _SHARD


def _metadata(donor: Source) -> Mapping[str, str]:
    """What the donor's files say of themselves, except for digests: those are of other numbers."""
    return {key: text for key, text in donor.metadata().items() if not _DIGEST.search(key)}


def _without_dropped(patterns: Sequence[str], headers: Headers) -> tuple[Headers, tuple[Operand, ...]]:
    if not patterns:
        return headers, ()
    drop = _any_of(patterns)
    gone = [
        Operand(index, name) for index, tensors in enumerate(headers.values()) for name in tensors if drop.match(name)
    ]
    kept: dict[str, Mapping[str, Header]] = {
        label: {name: header for name, header in tensors.items() if not drop.match(name)}
        for label, tensors in headers.items()
    }
    return kept, tuple(gone)


def _outside_slices(headers: Headers, outs: Sequence[Out]) -> tuple[Operand, ...]:
    """Tensors of layers that no slice takes, and embeddings and heads of models from which only layers come."""
    used = {operand for out in outs for operand in out.operands}
    held = (Operand(index, name) for index, tensors in enumerate(headers.values()) for name in tensors)
    return tuple(operand for operand in held if operand not in used)


def _check_drop(recipe: Recipe, sources: Mapping[str, Source], findings: Findings) -> None:
    names = {name for source in sources.values() for name in source.headers()}
    for pattern in recipe.output.drop:
        if not any(map(_any_of([pattern]).match, names)):
            hint = nearest(pattern.strip("*."), {word for name in names for word in name.split(".")})
            where = str(recipe.output.place)
            findings.add(RecipeError(f"`drop`: no tensor matches `{pattern}`", where=where, hint=hint))


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))
