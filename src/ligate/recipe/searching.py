"""A `search:` against the card of the method whose parameters it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ligate.core.errors import LigateError, RecipeError
from ligate.core.method import Card
from ligate.core.space import Among, Between, Sought, Value, parameters

from .schema import Gradient, Recipe, SearchSpec, Setting, Step


def probed(step: Step, search: SearchSpec | None) -> Step:
    """The step with both ends of every range and with every choice, judged by the same checks as any recipe."""
    if search is None:
        return step
    return replace(
        step, settings=(*(one for sought in search.space for one in _probes(sought, search)), *step.settings)
    )


def complaints(step: Step, search: SearchSpec | None) -> Iterator[LigateError]:
    """What keeps the search from beginning at what the step says of the parameters that are looked for."""
    for sought in search.space if search else ():
        for setting in step.settings:
            if setting.name == sought.name and (reason := _no_start(setting, sought)):
                hint = f"leave it out, or give `{sought.name}` one value within the limits: the search begins there"
                yield RecipeError(f"`{sought.name}` is looked for, and {reason}", where=str(setting.place), hint=hint)


def space(search: SearchSpec, card: Card) -> tuple[Sought, ...]:
    """What is looked for; of a parameter that takes whole numbers only these."""
    return tuple(_typed(sought, card) for sought in search.space)


def start(step: Step, space: Sequence[Sought], card: Card) -> dict[str, Value]:
    """Coordinates at which the search begins: what the step says, else the method's own default where it is allowed."""
    found: dict[str, Value] = {}
    for sought in space:
        param = card.params[sought.name]
        said = {one.model: one.value for one in reversed(step.settings) if one.name == sought.name}
        default = None if param.required else param.default
        for model in sought.models or (None,):
            value = said.get(model, said.get(None, default))
            if sought.over.holds(value) and not isinstance(value, Gradient) and value is not None:
                mine = replace(sought, models=(model,) if model else ())
                found |= dict.fromkeys(mine.coordinates(), value)
    return found


def somewhere(space: Sequence[Sought], begin: Mapping[str, Value]) -> dict[str, Value]:
    """A whole point: where the search begins, and for what that leaves open the lowest value or the first choice."""
    return {
        coordinate: begin.get(coordinate, sought.over.values[0] if isinstance(sought.over, Among) else sought.over.low)
        for sought in space
        for coordinate in sought.coordinates()
    }


def anywhere(recipe: Recipe, lookup: Callable[[str], Card]) -> Recipe:
    """A recipe whose search is sound, as an ordinary one somewhere within its space: to check and plan it by."""
    if recipe.search is None:
        return recipe
    step = recipe.steps[-1]
    card = lookup(step.method)
    sought = space(recipe.search, card)
    return with_parameters(recipe, parameters(sought, somewhere(sought, start(step, sought, card))))


def with_parameters(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with these parameters of its last step, as recipes write them: a value, a list over the layers, or
    either by model. They replace whatever it said of these parameters, and it searches no more."""
    *earlier, step = recipe.steps
    others = tuple(setting for setting in step.settings if setting.name not in values)
    found = tuple(one for name, value in values.items() for one in _settings(Setting(name, None), value))
    return replace(recipe, steps=(*earlier, replace(step, settings=(*found, *others))), search=None)


def _settings(so_far: Setting, value: Any) -> Iterator[Setting]:
    if isinstance(value, Mapping):
        for label, each in value.items():
            yield from _settings(replace(so_far, model=label), each)
    else:
        yield replace(so_far, value=Gradient(tuple(value)) if isinstance(value, list) else value)


def _probes(sought: Sought, search: SearchSpec) -> Iterator[Setting]:
    over, place = sought.over, search.places[sought.name]
    for value in over.values if isinstance(over, Among) else (over.low, over.high):
        for model in sought.models or (None,):
            yield Setting(sought.name, value, model, place=place)


def _no_start(setting: Setting, sought: Sought) -> str:
    if setting.match is not None:
        return "a pattern sets it"
    if isinstance(setting.value, Gradient):
        return "a list over the layers sets it"
    if setting.model is not None and setting.model not in sought.models:
        return f"`{setting.model}` has a value of its own"
    return "" if sought.over.holds(setting.value) else f"{setting.value} lies outside of the search"


def _typed(sought: Sought, card: Card) -> Sought:
    if card.params[sought.name].kind is int and isinstance(sought.over, Between):
        return replace(sought, over=replace(sought.over, whole=True))
    return sought
