"""A recipe without YAML: a method, a base, some models, some parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ligate.core.errors import RecipeError
from ligate.core.method import Card
from ligate.core.params import Param
from ligate.core.suggest import nearest
from ligate.recipe.schema import Gradient, Output, Place, Recipe, Setting, Step, Value
from ligate.recipe.unet_blocks import BlockWeights, block_settings

from .opening import labels_of
from .sources import source_spec


def compose(
    card: Card, models: Sequence[str], base: str | None, values: Mapping[str, Any], *, place: str = "command line"
) -> Recipe:
    """The recipe that merges `models` (and `base`) by one method. Models are `path[@revision][+adapter]`."""
    written = [*([base] if base else []), *models]
    labels = labels_of(written)
    sources = {label: source_spec(label, text, place) for label, text in zip(labels, written, strict=True)}
    tuned = labels[1:] if base else labels
    settings = settings_of(card, values, tuned, place)
    step = Step(card.id, tuned, labels[0] if base else None, settings=settings, place=Place(place))
    return Recipe(sources, (step,), Output(place=Place(place)))


def settings_of(card: Card, values: Mapping[str, Any], models: Sequence[str], place: str) -> tuple[Setting, ...]:
    """Values by parameter: one value; a list or `{label: value}` for one per model; lists over layers or blocks."""
    found: list[Setting] = []
    for name, value in values.items():
        param = card.params.get(name)
        if param is None:
            hint = nearest(name, card.params)
            raise RecipeError(f"`{card.id}` has no parameter `{name}`", where=place, hint=hint)
        found += _settings(param, value, models, place)
    return tuple(found)


def _settings(param: Param, value: Any, models: Sequence[str], place: str) -> list[Setting]:
    where = Place(place)
    if isinstance(value, BlockWeights):
        return block_settings(Setting(param.name, None, place=where), value)
    if isinstance(value, Mapping):
        return [
            Setting(param.name, _of_one(param, one, place), str(label), place=where) for label, one in value.items()
        ]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [Setting(param.name, value, place=where)]
    if not param.per_model:
        return [Setting(param.name, _of_one(param, value, place), place=where)]
    if len(value) != len(models):
        text = f"`{param.name}` has {len(value)} values for {len(models)} models ({', '.join(models)})"
        raise RecipeError(text, where=place, hint="give one value for all of them, or one for each in their order.")
    pairs = zip(models, value, strict=True)
    return [Setting(param.name, _of_one(param, one, place), label, place=where) for label, one in pairs]


def _of_one(param: Param, value: Any, place: str) -> Value | Gradient:
    """A value of one model, or a list of them over its layers."""
    over_layers = isinstance(value, Sequence) and not isinstance(value, str)
    points: tuple[Any, ...] = tuple(value) if over_layers else (value,)
    if not points or any(isinstance(point, (list, tuple, dict, set)) for point in points):
        hint = "give one value for all, one per model, or for each model a list over its layers."
        raise RecipeError(f"`{param.name}` cannot be {value!r}", where=place, hint=hint)
    return Gradient(points) if over_layers else points[0]


def spoken_value(text: str) -> Value | list[Value]:
    """`0.2`, `true`, `paper`; `0.3,0.7` is a list, as is `[0.3, 0.7]`."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [_scalar(part) for part in text.split(",")] if "," in text else _scalar(text)


def spoken_blocks(text: str) -> BlockWeights:
    """Numbers with commas between them, as merging tools of image models list them.

    Raises:
        RecipeError: something in it is no number.
    """
    values = [_scalar(part) for part in text.split(",")]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RecipeError(f"a block weight must be a number. Got {value!r} instead.", where="--blocks")
    return BlockWeights(value for value in values if isinstance(value, (int, float)))


def _scalar(text: str) -> Value:
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if word.lower() in ("none", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
