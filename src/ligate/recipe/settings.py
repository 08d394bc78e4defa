"""The parameters of a step: checked against the method's card, then resolved for each tensor."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from ligate.core.errors import LigateError, RecipeError
from ligate.core.method import Card
from ligate.core.params import Param
from ligate.core.suggest import nearest

from .findings import Findings
from .schema import Gradient, Place, Setting, Value

Applies = Callable[[str], bool]
Heard = Mapping[Setting, tuple[bool, ...]]
"""For each setting with a pattern, the models for which it applies to a tensor."""


def unknown(cards: Sequence[Card], settings: Sequence[Setting]) -> list[LigateError]:
    """Settings of parameters that none of the methods has."""
    known = tuple(dict.fromkeys(name for card in cards for name in card.params))
    methods = " or ".join(f"`{card.id}`" for card in cards)
    return [
        RecipeError(
            f"{methods} has no parameter `{setting.name}`", where=str(setting.place), hint=nearest(setting.name, known)
        )
        for setting in settings
        if setting.name not in known
    ]


def wrong_values(
    card: Card, settings: Sequence[Setting], models: Sequence[str], base: str | None
) -> list[LigateError]:  # fmt: skip
    """What is wrong with given values, whatever tensors they will meet. `models`: those that may have their own."""
    return [
        error
        for setting in settings
        if setting.name in card.params
        for error in _setting_complaints(card, card.params[setting.name], setting, models, base)
    ]


def lacking(card: Card, settings: Sequence[Setting], models: Sequence[str], place: Place) -> list[LigateError]:
    """Required parameters that nothing gives a value."""
    return [
        error
        for param in card.params.values()
        if param.required
        for error in _lacking(card, param, settings, models, place)
    ]


def _setting_complaints(
    card: Card, param: Param, setting: Setting, models: Sequence[str], base: str | None
) -> list[LigateError]:
    where = str(setting.place)
    if setting.model is not None and not param.per_model:
        return [RecipeError(f"`{setting.spoken}` of `{card.id}` is one value for all models", where=where)]
    if setting.model is not None and setting.model not in models:
        reason = "which is the base and has none" if setting.model == base else "which is not merged here"
        text = f"`{setting.spoken}` is given for `{setting.model}`, {reason}"
        return [RecipeError(text, where=where, hint=f"models with their own value: {', '.join(models)}")]
    values = setting.value.values if isinstance(setting.value, Gradient) else (setting.value,)
    found: list[LigateError] = []
    for value in values:
        try:
            replace(param, name=setting.spoken).checked(value)
        except RecipeError as error:
            error.where = where
            found.append(error.inside(model=setting.model))
    return found


def _lacking(
    card: Card, param: Param, settings: Sequence[Setting], models: Sequence[str], place: Place
) -> list[LigateError]:
    mine = [setting for setting in settings if setting.name == param.name]
    if any(setting.model is None for setting in mine):
        return []
    lacking = [label for label in models if not any(setting.model == label for setting in mine)]
    if param.per_model and not lacking:
        return []
    whom = f" for {', '.join(lacking)}" if mine else ""
    return [RecipeError(f"`{card.id}` needs `{param.name}`{whom}", where=str(place), hint="set it under `parameters:`")]


class Values:
    """Resolves the parameters of one method for tensor after tensor; equal results are one shared mapping."""

    def __init__(self, card: Card, settings: Sequence[Setting], models: Sequence[str], place: Place) -> None:
        self.card = card
        self.place = place
        self.models = tuple(models)
        self.settings = {name: [s for s in settings if s.name == name] for name in card.params}
        self.patterns = {s: applies(s) for group in self.settings.values() for s in group if s.match is not None}
        self.graded = any(isinstance(s.value, Gradient) for group in self.settings.values() for s in group)
        self.met: set[Setting] = set()  # patterns that applied to some tensor
        self.spread: set[Setting] = set()  # gradients that met a layer
        self._known: dict[tuple[Any, ...], Mapping[str, Any]] = {}

    def at(self, name: str, tuned: Sequence[str], depth: float | None, findings: Findings) -> Mapping[str, Any]:
        """Every parameter's value for the tensor `name`, called `tuned` in the models.

        What does not go together is added to `findings`.
        """
        hits = tuple(
            tuple(map(applies, tuned)) if setting.in_source else (applies(name),) * len(tuned)
            for setting, applies in self.patterns.items()
        )
        key = (hits, depth if self.graded else None)
        if key not in self._known:
            heard = dict(zip(self.patterns, hits, strict=True))
            self.met.update(setting for setting, hit in heard.items() if any(hit))
            self._known[key] = self._resolved(name, depth, heard, findings)
        return self._known[key]

    def _resolved(self, name: str, depth: float | None, heard: Heard, findings: Findings) -> Mapping[str, Any]:
        params: dict[str, Any] = {}
        try:
            for param in self.card.params.values():
                numbers = range(len(self.models)) if param.per_model else (0,)
                values = tuple(self._value(param, number, depth, heard) for number in numbers)
                params[param.name] = values if param.per_model else values[0]
            self.card.check(params)
        except _WrongSetting:
            return params  # `wrong_values` tells it with its own line
        except LigateError as error:
            place = self._place(error, heard)
            findings.repeated((error.problem, place), name, partial(_told, error, place))
        return params

    def _value(self, param: Param, number: int, depth: float | None, heard: Heard) -> Any:
        """The value for the model of this number; a parameter without values by model is asked for the first one."""
        setting = self._setting(param, number, heard)
        if setting is not None:
            if isinstance(setting.value, Gradient) and depth is not None:
                self.spread.add(setting)
            return self._checked(param, setting, depth)
        if param.required:
            whom = f" for model {self.models[number]}" if param.per_model else ""
            raise RecipeError(f"`{param.name}` is not given{whom}", hint="add a value for the rest of the tensors")
        return param.default

    def _setting(self, param: Param, number: int, heard: Heard) -> Setting | None:
        model = self.models[number] if param.per_model else None
        for setting in self.settings[param.name]:
            if setting.model in (None, model) and (setting.match is None or heard[setting][number]):
                return setting
        return None

    def _place(self, error: LigateError, heard: Heard) -> Place:
        """Where a parameter was set of which the error of a card's own check speaks (`the weights ...`)."""
        spoken_of = [param for param in self.card.params.values() if re.search(rf"\b{param.name}s?\b", error.problem)]
        for param, number in product(spoken_of, range(len(self.models))):
            setting = self._setting(param, number, heard)
            if setting is not None and not setting.default_of:
                return setting.place
        return self.place

    def _checked(self, param: Param, setting: Setting, depth: float | None) -> Any:
        try:
            return replace(param, name=setting.spoken).checked(_at(setting.value, param, depth))
        except RecipeError as error:
            raise _WrongSetting(error.problem, where=str(setting.place)) from None


class _WrongSetting(RecipeError):
    """A value that its parameter cannot have."""


def _told(error: LigateError, place: Place, names: Sequence[str]) -> LigateError:
    return type(error)(error.problem, where=f"{place}, tensor {names[0]}", hint=error.hint)


def _at(value: Value | Gradient, param: Param, depth: float | None) -> Value:
    if not isinstance(value, Gradient):
        return value
    points = [param.checked(point) for point in value.values]
    position = (depth or 0.0) * (len(points) - 1)
    low = int(position)
    if param.kind is not float or low == position:
        return points[low]
    share = position - low
    start, end = points[low], points[low + 1]
    between = (1 - share) * start + share * end
    return min(max(between, min(start, end)), max(start, end))  # rounding must not leave the limits


def applies(setting: Setting) -> Applies:
    pattern = setting.match or ""
    if setting.style == "substring":
        return lambda name: pattern in name
    compiled = re.compile(fnmatch.translate(pattern))
    return lambda name: compiled.match(name) is not None
