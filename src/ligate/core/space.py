"""Where a search looks: a few parameters of a rule, each within limits or among words, as plain data.

A parameter may have values of its own for each model, and values at a few layers between which it runs linearly
(knots): a curve over the depth of a network in three to five numbers. Every single number or word that is to be found
is a *coordinate* with a name of its own: `scale`, `weight.code`, `density[0]`, `weight.code[2]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .errors import RecipeError

Sampler = Literal["tpe", "cma", "random"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "cma", "random")
Value = float | int | bool | str
Point = Mapping[str, Value]
"""Coordinate -> value."""

_DIGITS = 4


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, both included.

    Args:
        log: equal chances for equal ratios; both limits are greater than 0.
        whole: an integer.

    Raises:
        RecipeError: the limits are not finite, not in order, or not of the kind that is asked for.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise RecipeError(f"`low: {self.low}` must be less than `high: {self.high}`, and both finite")
        if self.log and self.low <= 0:
            raise RecipeError(f"`low: {self.low}` must be greater than 0 where ratios count (`log: true`)")
        if self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise RecipeError(f"the limits {self.low} and {self.high} of a whole number must be whole numbers")

    def taken(self, value: Value) -> Value:
        """A value as a person can type it: four digits, never beyond a limit."""
        if self.whole:
            return int(value)
        rounded = float(f"{float(value):.{_DIGITS}g}")
        return min(max(rounded, float(self.low)), float(self.high))

    def holds(self, value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or float(value).is_integer())


@dataclass(frozen=True)
class Among:
    """One of these words or numbers, in which no order is seen."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            raise RecipeError(f"{list(self.values)} are no choices", hint="give two or more different values.")

    def taken(self, value: Value) -> Value:
        return value

    def holds(self, value: Any) -> bool:
        return any(type(value) is type(each) and value == each for each in self.values)


@dataclass(frozen=True)
class Sought:
    """A parameter that is looked for.

    Args:
        over: which values it may have.
        knots: 1, one value for all layers; n, the values at n layers evenly spread from the first to the last.
        models: each of these has values of its own; none: one for all.
    """

    name: str
    over: Between | Among
    knots: int = 1
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.knots < 1:
            raise RecipeError(f"`knots` of `{self.name}` must be 1 or more. Got {self.knots} instead.")

    def coordinates(self) -> Iterator[str]:
        for model in self.models or ("",):
            for knot in range(self.knots):
                yield self._coordinate(model, knot)

    def value(self, point: Point) -> Any:
        """As a recipe has it under `parameters:`: a value, a list over the layers, or either of them by model."""
        if self.models:
            return {model: self._of(model, point) for model in self.models}
        return self._of("", point)

    def _of(self, model: str, point: Point) -> Value | list[Value]:
        values = [point[self._coordinate(model, knot)] for knot in range(self.knots)]
        return values if self.knots > 1 else values[0]

    def _coordinate(self, model: str, knot: int) -> str:
        return self.name + (f".{model}" if model else "") + (f"[{knot}]" if self.knots > 1 else "")


Space = Sequence[Sought]


def coordinates(space: Space) -> dict[str, Between | Among]:
    """Every coordinate of a space and which values it may have.

    Raises:
        RecipeError: there are none, or a parameter is sought twice.
    """
    names = [sought.name for sought in space]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise RecipeError(f"`{twice[0]}` is sought twice" if twice else "there is no parameter to look for")
    return {coordinate: sought.over for sought in space for coordinate in sought.coordinates()}


def parameters(space: Space, point: Point) -> dict[str, Any]:
    """The parameters of a rule at a point, as a recipe writes them.

    >>> space = [Sought("scale", Between(0, 2)), Sought("weight", Between(0, 1), knots=2, models=("a", "b"))]
    >>> parameters(space, {"scale": 1.5, "weight.a[0]": 0.1, "weight.a[1]": 0.2, "weight.b[0]": 1, "weight.b[1]": 0})
    {'scale': 1.5, 'weight': {'a': [0.1, 0.2], 'b': [1, 0]}}
    """
    return {sought.name: sought.value(point) for sought in space}


def as_data(space: Space) -> dict[str, Any]:
    """A space as plain data, for records."""

    def one(sought: Sought) -> dict[str, Any]:
        match sought.over:
            case Between(low, high, log, whole):
                over: dict[str, Any] = {"low": low, "high": high, "log": log, "whole": whole}
            case Among(values):
                over = {"choices": list(values)}
        return {**over, "knots": sought.knots, "models": list(sought.models)}

    return {sought.name: one(sought) for sought in space}
