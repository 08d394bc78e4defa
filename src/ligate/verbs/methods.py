"""The cards of the methods, as values."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ligate.core.method import Card
from ligate.core.params import Param
from ligate.methods import _catalogue


def cards(plugins: Sequence[str | Path] = ()) -> tuple[Card, ...]:
    """All known methods in the order of their ids, then those of the plugins."""
    _load(plugins)
    return tuple(map(_catalogue.load, _catalogue.ids()))


def card(name: str, plugins: Sequence[str | Path] = ()) -> Card:
    """One method by id (`merge/ties`) or short name (`ties`); RecipeError suggests the nearest."""
    _load(plugins)
    return _catalogue.load(name)


def kind(param: Param) -> str:
    return " | ".join(param.choices) if param.choices else param.kind.__name__


def limits(param: Param) -> str:
    return str(param.limit) if param.limit else ""


def as_data(card: Card) -> dict[str, Any]:
    """The card for machines."""
    return {
        "id": card.id,
        "title": card.title,
        "source": card.source,
        "base": card.base,
        "models": {"fewest": card.models[0], "most": card.models[1]},
        "symmetric": card.symmetric,
        "reach": card.reach,
        "measured": dict(card.measured),
        "doc": inspect.getdoc(card.function) or "",
        "parameters": {param.name: _param(param) for param in card.params.values()},
    }


def _param(param: Param) -> dict[str, Any]:
    data: dict[str, Any] = {"type": param.kind.__name__, "per_model": param.per_model}
    if not param.required:
        data["default"] = param.default
    if param.choices:
        data["choices"] = param.choices
    if param.limit:
        data["limit"] = str(param.limit)
    return data


def _load(plugins: Sequence[str | Path]) -> None:
    for path in plugins:
        _catalogue.load_plugin(path)
