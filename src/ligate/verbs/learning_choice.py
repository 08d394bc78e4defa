"""What a recipe of a learned merge asks for, judged before a model is opened: preset, settings, tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ligate.core.errors import LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.recipe.schema import DataSpec, Gradient, Recipe, Setting, Step

from .canonical import Lookup

if TYPE_CHECKING:
    from ligate.learn.presets import Preset

LEARN = "learn/"
_STAND_IN = "merge/task_arithmetic"
_TEST_INPUTS = "test inputs"


class Chosen(NamedTuple):
    """A preset with the recipe's settings, and what it is to learn from."""

    method: str
    preset: Preset
    models: tuple[str, ...]
    data: DataSpec

    @property
    def needs_labels(self) -> bool:
        """Language models are told by their own texts, which need none."""
        return "labels" in self.preset.objective.needs and self.data.kind != "causal-lm"


def is_learned(recipe: Recipe) -> bool:
    return any(step.method.startswith(LEARN) for step in recipe.steps)


def chosen(recipe: Recipe, problems: list[LigateError]) -> Chosen | None:
    """None where `problems` has taken what is wrong with it."""
    before = len(problems)
    step = next(step for step in recipe.steps if step.method.startswith(LEARN))
    if len(recipe.steps) > 1 or step.slices:
        text = "a learned merge is the only step of its recipe, and has no slices"
        problems.append(RecipeError(text, where=str(step.place), hint="merge beforehand what it is to learn on."))
    if step.base is None and step.whole:
        hint = "name the model that the others were trained from."
        problems.append(RecipeError(f"`{step.method}` needs a `base:`", where=str(step.place), hint=hint))
    preset = _preset(step, problems)
    if recipe.data is None and step.whole and recipe.names_known:
        hint = "for example `data: {kind: classification, tasks: {NAME: FILE.csv}}`; see docs/learned.md."
        problems.append(RecipeError(f"`{step.method}` needs `data:` to learn from", where=str(step.place), hint=hint))
    if preset is None or recipe.data is None or len(problems) > before:
        return None
    found = Chosen(step.method, preset, step.models, recipe.data)
    problems += _unfit(found)
    return found if len(problems) == before else None


def stand_in(recipe: Recipe, problems: list[LigateError]) -> Recipe:
    """The same merge with any coefficients: what is checked and planned before they are known."""
    step = replace(recipe.steps[0], method=_STAND_IN, settings=(Setting("scale", 1.0), Setting("weight", 1.0)))
    return replace(recipe, steps=(step,), data=None, problems=(*recipe.problems, *problems))


def with_idle_data_told(recipe: Recipe, lookup: Lookup) -> Recipe:
    """The recipe, with a problem if it has `data:` that none of its methods asks for."""
    if recipe.data is None or recipe.search or any(step.method.startswith(LEARN) for step in recipe.steps):
        return recipe
    try:
        cards = [lookup(step.method) for step in recipe.steps]
    except LigateError:
        return recipe  # of which worse is told
    if any(card.measured for card in cards):
        return recipe
    methods = " and ".join(dict.fromkeys(f"`{card.id}`" for card in cards))
    hint = "leave `data:` out, or take a method that learns: `ligate methods` lists them."
    where = str(recipe.data.place)
    problem = RecipeError(f"{methods} learns and measures nothing from `data:`", where=where, hint=hint)
    return replace(recipe, problems=(*recipe.problems, problem))


def _preset(step: Step, problems: list[LigateError]) -> Preset | None:
    from ligate.learn.presets import PRESETS
    from ligate.learn.settings import with_settings, with_shares

    name = step.method.removeprefix(LEARN)
    if name not in PRESETS:
        hint = nearest(name, PRESETS)
        problems.append(RecipeError(f"there is no preset '{step.method}'", where=str(step.place), hint=hint))
        return None
    preset = PRESETS[name]
    shares = [setting for setting in step.settings if _is_share(setting)]
    for setting in step.settings:
        try:
            if setting not in shares:
                preset = with_settings(preset, {setting.name: _value(setting)}, step.method)
            elif setting is shares[0]:
                preset = with_shares(preset, _shares(shares, step.models), step.method)
        except RecipeError as error:
            error.where = str(setting.place)
            problems.append(error)
    return preset


def _is_share(setting: Setting) -> bool:
    """A weight of one model, from which a gate begins."""
    return setting.name == "weight" and setting.model is not None and setting.match is None


def _shares(settings: Sequence[Setting], models: Sequence[str]) -> list[float]:
    """A number for every model."""
    known = {setting.model: setting.value for setting in settings}
    for model in models:
        value = known.get(model)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            told = "has none" if value is None else f"has {value!r}"
            raise RecipeError(f"`weight` must be a number for every model, and `{model}` {told}")
    return [float(cast("float", known[model])) for model in models]


def _value(setting: Setting) -> Any:
    if setting.model is not None or setting.match is not None or isinstance(setting.value, Gradient):
        raise RecipeError(f"`{setting.name}` is one value for the whole learning")
    return setting.value


def _unfit(found: Chosen) -> list[LigateError]:
    """What preset and data say against each other."""
    data, where = found.data, str(found.data.place)
    problems: list[LigateError] = []
    if data.test_inputs and found.preset.inputs != _TEST_INPUTS:
        hint = "leave it out, and give inputs on which the result will not be tested."
        problems.append(
            RecipeError(f"`{found.method}` is no test-time adaptation: no `test_inputs`", where=where, hint=hint)
        )
    if data.per_class is not None and not found.needs_labels:
        hint = "leave it out; fewer examples are a shorter file."
        text = f"`per_class` counts labelled examples, and `{found.method}` uses no labels"
        problems.append(RecipeError(text, where=where, hint=hint))
    if data.how is not None:
        text = f"`how` says how Fisher information is measured, and `{found.method}` measures none"
        problems.append(RecipeError(text, where=where, hint="leave it out."))
    own_head = data.kind == "sequence-classification"
    for task in data.tasks:
        if task.name not in found.models and (own_head or "expert" in found.preset.objective.needs):
            reason = "whose head answers" if own_head else "which is to teach it"
            hint = f"{nearest(task.name, found.models)} Tasks have the names of their experts."
            text = f"task `{task.name}` has no model of its name, {reason}"
            problems.append(RecipeError(text, where=str(task.place), hint=hint))
    return problems
