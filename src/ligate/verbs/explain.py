"""Where one tensor of a result comes from: its operands, and each parameter with the line that set it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import Source
from ligate.engine.plan import Out
from ligate.engine.record import Entry
from ligate.recipe.findings import Findings
from ligate.recipe.parts import Part, same_name_rows
from ligate.recipe.review import Cards
from ligate.recipe.schema import Gradient, Setting, Step
from ligate.recipe.settings import Values
from ligate.recipe.slices import labels, sliced_parts

from .canonical import Lookup
from .given import GivenRecipe, given_recipe, lookup_with
from .measuring import is_measured
from .outcome import read_record
from .preflight import Stage
from .sources import Expected, labels_of_step
from .undertaking import How, Undertaking, undertaking


@dataclass(frozen=True)
class Ingredient:
    """A tensor that goes in."""

    role: str  # base, model, or what was measured: `fisher`
    label: str
    name: str
    dtype: str
    place: str


@dataclass(frozen=True)
class Parameter:
    """A resolved value; `model` is None for a parameter that all models share."""

    name: str
    model: str | None
    value: Any
    origin: str


@dataclass(frozen=True)
class Explained:
    """How one step makes the tensor. `step` is None for the step that makes the output."""

    step: str | None
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    method: str | None  # None: copied
    ingredients: tuple[Ingredient, ...]
    parameters: tuple[Parameter, ...]


def explain(recipe: GivenRecipe, tensor: str, *, plugins: Sequence[str | PathLike[str]] = ()) -> tuple[Explained, ...]:
    """How each step of a recipe makes `tensor`, the output's last. Reads headers only.

    Raises:
        RecipeError: no step makes such a tensor.
        LigateError: the recipe could not run, or measures first what it merges by.
    """
    wanted, lookup = given_recipe(recipe), lookup_with(plugins)
    if is_measured(wanted, lookup):
        text = f"`{wanted.steps[0].method}` merges by what nobody has measured yet"
        hint = "merge first; then explain the output, or the recipe in OUT.learned."
        raise RecipeError(text, where=str(wanted.steps[0].place), hint=hint)
    with undertaking(wanted, None, How(), lookup) as job:
        found = [*_all_steps(job, tensor)]
        if not found or found[-1].step is not None:
            names = [out.name for out in job.stages[-1].plan.outs]
            raise RecipeError(f"the result has no tensor '{tensor}'", where="--tensor", hint=nearest(tensor, names))
        return tuple(found)


def recorded(out: str | PathLike[str], tensor: str) -> Entry:
    """What the record of a finished merge says of `tensor`.

    Raises:
        RecipeError: the output has no such tensor.
        InputError: there is no record.
    """
    tensors = read_record(Path(out)).tensors
    if tensor not in tensors:
        raise RecipeError(f"the result has no tensor '{tensor}'", where="--tensor", hint=nearest(tensor, tensors))
    return tensors[tensor]


def _all_steps(job: Undertaking, tensor: str) -> Iterator[Explained]:
    sources: dict[str, Source] = dict(job.sources)
    for stage in job.stages:
        out = next((out for out in stage.plan.outs if out.name == tensor), None)
        if out is not None:
            last = stage is job.stages[-1]
            yield _explained(job, stage, out, sources, None if last else stage.step.name)
        for label in labels_of_step(job.recipe, stage.step.name) if stage.step.name else ():
            sources[label] = Expected(label, stage.plan, None)


def _explained(job: Undertaking, stage: Stage, out: Out, sources: Mapping[str, Source], step: str | None) -> Explained:
    plan = stage.plan
    roles = {operand: keyword for keyword, operands in out.measured.items() for operand in operands}
    roles |= {**dict.fromkeys(out.tuned, "model"), **({out.base: "base"} if out.base else {})}
    ingredients = tuple(
        Ingredient(
            roles[operand],
            plan.sources[operand.source],
            operand.name,
            sources[plan.sources[operand.source]].headers()[operand.name].dtype,
            sources[plan.sources[operand.source]].place(operand.name),
        )
        for operand in out.operands
    )
    parameters = _parameters(stage.step, out, sources, job.lookup) if out.method else ()
    return Explained(step, out.name, out.dtype, out.shape, out.method, ingredients, parameters)


def _parameters(step: Step, out: Out, sources: Mapping[str, Source], lookup: Lookup) -> tuple[Parameter, ...]:
    part, row = next((part, row) for part in _parts(step, sources, lookup) for row in part.rows if row.name == out.name)
    if part.card is None:
        return ()
    names = dict(zip(part.labels, row.inputs, strict=True))
    values = Values(part.card, part.settings, part.models, part.place)
    found: list[Parameter] = []
    for name, value in out.params.items():
        each = zip(part.models, value, strict=True) if part.card.params[name].per_model else [(None, value)]
        found += [
            Parameter(name, model, one, _origin(values, name, model, out.name, names.get(model or "") or out.name))
            for model, one in each
        ]
    return tuple(found)


def _parts(step: Step, sources: Mapping[str, Source], lookup: Lookup) -> Sequence[Part]:
    cards = Cards(step, lookup, Findings())
    headers = {label: sources[label].headers() for label in labels(step)}
    if step.slices:
        return sliced_parts(step, headers, cards.of_slice, Findings())
    rows = same_name_rows(headers, tuple(headers))
    return [Part(cards.of_step, step.base, step.models, step.settings, rows, step.place)]


def _origin(values: Values, name: str, model: str | None, tensor: str, own: str) -> str:
    """The line of the first setting that applies, as when the value was resolved. `own` is the name in the model."""
    for setting in values.settings[name]:
        seen = own if setting.in_source else tensor
        if setting.model in (None, model) and (setting.match is None or values.patterns[setting](seen)):
            return _spoken(setting)
    return "default"


def _spoken(setting: Setting) -> str:
    if setting.default_of:
        return f"default of {setting.default_of}"
    how = [f"`{setting.written}`"] if setting.written else []
    how += [f"for tensors like `{setting.match}`"] if setting.match else []
    if isinstance(setting.value, Gradient):
        how.append(f"spread over the layers: {', '.join(map(str, setting.value.values))}")
    return ", ".join((str(setting.place), *how))
