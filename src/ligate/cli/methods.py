"""`ligate methods [ID]`"""

from __future__ import annotations

import inspect as reflect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .show import say, say_json, spoken, table

if TYPE_CHECKING:
    from ligate.core.method import Card
    from ligate.core.params import Param
    from ligate.verbs.presets import Told


_WHOSE = {"model": "of each", "step": "of all together"}


def methods(
    method: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show the card of this one: `ties`.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.py", help="Also know the methods of this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the merge methods and the presets of learned merging, or show one: equation, source, parameters, limits."""
    from ligate.verbs import methods as verb
    from ligate.verbs import presets as learning

    cards = verb.cards(plugin or ())
    if method is not None and method.startswith("learn/"):
        preset = learning.preset(method)
        say_json(preset._asdict()) if json else say(_preset(preset))
    elif method is not None:
        card = verb.card(method, plugin or ())
        say_json(verb.as_data(card)) if json else say(_full(card))
    elif json:
        presets = [preset._asdict() for preset in learning.presets()]
        say_json([*(verb.as_data(card) for card in cards), *presets])
    else:
        rows = [(card.id, card.title, _needs(card), ", ".join(card.params)) for card in cards]
        say(table(("method", "title", "needs", "parameters"), rows))
        learned = [(one.id, one.source, one.learns_from, one.summary) for one in learning.presets()]
        say("\nlearned from data (`data:` in a recipe, see docs/learned.md):\n")
        say(table(("preset", "source", "learns from", ""), learned))
        say("\n`ligate methods ID` shows the equation, the source and the limits of one.")


def _full(card: Card) -> str:
    from ligate.verbs.methods import kind, limits

    rows = [
        (p.name, kind(p), _default(p), limits(p), "one per model" if p.per_model else "") for p in card.params.values()
    ]
    parameters = table(("parameter", "type", "default", "limits", ""), rows) if rows else "no parameters"
    facts = f"{_needs(card)}; {'the order of the models is irrelevant' if card.symmetric else 'order matters'}"
    doc = reflect.getdoc(card.function) or ""
    return f"{card.id}: {card.title}\nsource: {card.source}\nneeds: {facts}\n\n{doc}\n\n{parameters}"


def _preset(preset: Told) -> str:
    rows = [(name, spoken(value)) for name, value in preset.settings.items()]
    facts = f"source: {preset.source}\nlearns from: {preset.learns_from}"
    return f"{preset.id}\n{facts}\n\n{preset.doc}\n\n{table(('parameter', 'default'), rows)}"


def _needs(card: Card) -> str:
    low, high = card.models
    models = f"{low} model{'s' if low != 1 else ''}" if low == high else f"{low} or more models"
    if high is not None and high != low:
        models = f"{low} to {high} models"
    base = {"required": "a base and ", "optional": "perhaps a base, ", "unused": ""}[card.base]
    measured = [f"`{name}` measured {_WHOSE[whose]}" for name, whose in card.measured.items()]
    return ", ".join((base + models, *measured))


def _default(param: Param) -> str:
    return "(must be given)" if param.required else spoken(param.default)
