"""What of a preset may be set otherwise: the plain fields of its three choices, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from ligate.core.errors import RecipeError
from ligate.core.suggest import nearest

from .presets import Preset

_CHOICES = ("parametrisation", "objective", "solver")
_LEAST = {"steps": 1, "look": 1, "patience": 0, "parts": 1}
_POSITIVE = ("rate", "temperature", "clip", "inner_rate")


def settings_of(preset: Preset) -> dict[str, Any]:
    """Every plain field of the three choices with its value; of two of one name the first counts."""
    found: dict[str, Any] = {}
    for choice in _CHOICES:
        for name, value, _ in _plain(getattr(preset, choice)):
            found.setdefault(name, value)
    return found


def with_settings(preset: Preset, values: Mapping[str, Any], method: str) -> Preset:
    """The preset with other values.

    Raises:
        RecipeError: it has no such field, or the field cannot have the value.
    """
    for name, value in values.items():
        known = settings_of(preset)
        if name not in known:
            raise RecipeError(f"`{method}` has no parameter `{name}`", hint=nearest(name, known))
        choice = next(one for one in _CHOICES if name in {each for each, *_ in _plain(getattr(preset, one))})
        preset = replace(preset, **{choice: _with(getattr(preset, choice), name, value)})
    return preset


def with_shares(preset: Preset, shares: Sequence[float], method: str) -> Preset:
    """The preset with a gate that begins at these shares of the experts, such as their training examples.

    Raises:
        RecipeError: it has no gate, or a share is not positive.
    """
    if not hasattr(preset.parametrisation, "at"):
        raise RecipeError(f"`{method}` has no gate that could begin at a `weight` of each model",
                          hint="leave `weight` out, or take `learn/neulig`.")  # fmt: skip
    if min(shares) <= 0:
        raise RecipeError(f"`weight` must be greater than 0. Got {min(shares):g} instead.")
    changed: Any = replace(cast("Any", preset.parametrisation), at=tuple(map(float, shares)))
    return replace(preset, parametrisation=changed)


def _with(choice: Any, name: str, value: Any) -> Any:
    for field, _, kind in _own(choice):
        if field == name:
            return replace(choice, **{name: _checked(name, value, kind)})
    inner = next(each for each in _parts(choice) if name in {one for one, *_ in _plain(getattr(choice, each))})
    return replace(choice, **{inner: _with(getattr(choice, inner), name, value)})


def _plain(choice: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and kind of each plain field, those of choices within the choice included."""
    yield from _own(choice)
    for part in _parts(choice):
        yield from _plain(getattr(choice, part))


def _own(choice: Any) -> Iterator[tuple[str, Any, Any]]:
    kinds = _kinds(type(choice))
    for field in fields(choice):
        value = getattr(choice, field.name)
        if field.init and isinstance(value, (bool, int, float, str, type(None))):
            yield field.name, value, kinds.get(field.name, type(value))


def _parts(choice: Any) -> list[str]:
    return [field.name for field in fields(choice) if is_dataclass(getattr(choice, field.name))]


def _kinds(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except NameError:  # a field of a kind that is only known to the type checker is no plain one
        return {}


def _checked(name: str, value: Any, kind: Any) -> Any:
    allowed = get_args(kind) if get_origin(kind) not in (None, Literal) else (kind,)  # `float | None`
    if value is None and type(None) in allowed:
        return None
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            hint = nearest(str(value), get_args(kind))
            raise RecipeError(f"`{name}` must be one of {', '.join(get_args(kind))}. Got {value!r} instead.", hint=hint)
        return value
    for one, word in ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "a word")):
        if one in allowed:
            return _of_kind(name, value, one, word)
    raise RecipeError(f"`{name}` cannot be set")


def _of_kind(name: str, value: Any, kind: type, word: str) -> Any:
    takes = (int, float) if kind is float else kind
    if not isinstance(value, takes) or (isinstance(value, bool) and kind is not bool):
        raise RecipeError(f"`{name}` must be {word}. Got {value!r} instead.")
    if value < _LEAST.get(name, value):
        raise RecipeError(f"`{name}` must be at least {_LEAST[name]}. Got {value!r} instead.")
    if name in _POSITIVE and not value > 0:
        raise RecipeError(f"`{name}` must be greater than 0. Got {value!r} instead.")
    return float(value) if kind is float else value
