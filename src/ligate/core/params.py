"""What a parameter of a method may be: its type, limits and whether each model has its own."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .errors import RecipeError


@dataclass(frozen=True)
class Range:
    """Closed interval [low, high]; `open_low` excludes the lower end."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    def complaint(self, value: float) -> str | None:
        above = value > self.low if self.open_low else value >= self.low
        return None if above and value <= self.high else f"must be {self}"

    def __str__(self) -> str:
        if self.high == math.inf and self.low == -math.inf:
            return "a finite number"
        if self.high == math.inf:
            return f"greater than {self.low:g}" if self.open_low else f"at least {self.low:g}"
        return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class PerModel:
    """Marks a parameter that each model has its own value of; arrives as a tuple in the order of the models."""


@dataclass(frozen=True)
class Param:
    """One parameter of a method, as read from its signature.

    `kind` is float, int, bool or str; `choices` are the allowed words of a Literal; `optional` allows None.
    """

    name: str
    kind: type
    default: Any
    choices: tuple[str, ...] = ()
    limit: Range | None = None
    per_model: bool = False
    optional: bool = False

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    def checked(self, value: Any) -> Any:
        """The value in the parameter's own type; RecipeError says what it must be instead."""
        if value is None and self.optional:
            return None
        if self.choices:
            return self._choice(value)
        if self.kind is bool:
            if isinstance(value, bool):
                return value
            raise RecipeError(f"`{self.name}` must be true or false. Got {value!r} instead.")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RecipeError(f"`{self.name}` must be a number. Got {value!r} instead.")
        if not math.isfinite(value):
            raise RecipeError(f"`{self.name}` must be finite. Got {value!r} instead.")
        if self.kind is int and value != int(value):
            raise RecipeError(f"`{self.name}` must be a whole number. Got {value!r} instead.")
        complaint = self.limit.complaint(value) if self.limit else None
        if complaint:
            raise RecipeError(f"`{self.name}` {complaint}. Got {value!r} instead.")
        return self.kind(value)

    def _choice(self, value: Any) -> str:
        if value not in self.choices:
            raise RecipeError(f"`{self.name}` must be one of {', '.join(self.choices)}. Got {value!r} instead.")
        return value


def read_params(function: Callable[..., Any], skip: Sequence[str]) -> Mapping[str, Param]:
    """Keyword-only parameters of a method's signature, except those the engine provides."""
    signature = inspect.signature(function)
    return types.MappingProxyType(
        {
            name: _param(name, _resolved(parameter.annotation, function), parameter.default)
            for name, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in skip
        }
    )


def _resolved(annotation: Any, function: Callable[..., Any]) -> Any:
    """Annotations are strings (so that reading a card does not import torch); only parameters are evaluated."""
    return eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation  # noqa: S307


def _param(name: str, annotation: Any, default: Any) -> Param:
    limit, per_model = None, False
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        limit = next((note for note in notes if isinstance(note, Range)), None)
        per_model = any(isinstance(note, PerModel) or note is PerModel for note in notes)
    annotation, optional = _scalar(annotation)
    if get_origin(annotation) is Literal:
        return Param(name, str, default, get_args(annotation), None, per_model, optional)
    if annotation not in (float, int, bool):
        found = "has none" if annotation is inspect.Parameter.empty else f"has {annotation!r}"
        raise TypeError(f"parameter `{name}` needs a type that a recipe can give (float, int, bool, Literal), {found}")
    return Param(name, annotation, default, (), limit, per_model, optional)


def _scalar(annotation: Any) -> tuple[Any, bool]:
    """`float | Sequence[float] | None` -> (float, True): what one model's value is, and whether None is allowed."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    parts = get_args(annotation)
    scalars = [part for part in parts if part is not type(None) and get_origin(part) not in (Sequence, tuple)]
    return scalars[0], type(None) in parts
