"""A step against the cards of its methods: everything that can be told before a source is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ligate.core.errors import LigateError, RecipeError
from ligate.core.method import Card

from . import measured, searching
from .findings import Findings
from .schema import Place, Recipe, Setting, Slice, Step
from .settings import lacking, unknown, wrong_values
from .slices import tuned

Lookup = Callable[[str], Card]


class Cards:
    """The cards of a step's methods; a method that is not in the catalogue is told once and is None."""

    def __init__(self, step: Step, lookup: Lookup, findings: Findings) -> None:
        self.of_step = self._found(step.method, step.place, lookup, findings)
        own = {entry.method: entry.place for entry in step.slices if entry.method}
        self._own = {method: self._found(method, place, lookup, findings) for method, place in own.items()}

    def of_slice(self, entry: Slice) -> Card | None:
        return self._own[entry.method] if entry.method else self.of_step

    def all(self) -> Sequence[Card]:
        return [card for card in (self.of_step, *self._own.values()) if card]

    def complete(self) -> bool:
        return None not in (self.of_step, *self._own.values())

    def _found(self, method: str, place: Place, lookup: Lookup, findings: Findings) -> Card | None:
        if not method:
            return None  # that it is missing is told by whoever read the text
        try:
            return lookup(method)
        except LigateError as error:
            error.where = error.where or str(place)
            findings.add(error)
            return None


def review(recipe: Recipe, lookup: Lookup) -> tuple[LigateError, ...]:
    """Everything wrong with the steps of a recipe, whatever its sources hold."""
    findings = Findings()
    for step in recipe.steps:
        review_step(searching.probed(step, recipe.search), Cards(step, lookup, findings), findings)
        for error in searching.complaints(step, recipe.search):
            findings.add(error)
    return findings.errors()


def review_step(step: Step, cards: Cards, findings: Findings) -> None:
    if cards.complete():
        for error in (*unknown(cards.all(), step.settings), *measured.unknown(cards.all(), step)):
            findings.add(error)
    for use in _uses(step, cards):
        for error in _complaints(use, step):
            findings.add(error)


class Use(NamedTuple):
    """One use of a method: the whole step, or one slice of it with settings of its `own`."""

    card: Card
    base: str | None
    models: tuple[str, ...]
    own: tuple[Setting, ...]
    place: Place


def _uses(step: Step, cards: Cards) -> list[Use]:
    if not step.slices:
        return [Use(cards.of_step, step.base, step.models, (), step.place)] if cards.of_step else []
    return [
        Use(card, entry.base or step.base, tuned(step, entry), entry.settings, entry.place)
        for entry in step.slices
        if (card := cards.of_slice(entry))
    ]


def _complaints(use: Use, step: Step) -> list[LigateError]:
    """Of a step whose text has problems only what is there is judged: what is lacking may be what is misspelt."""
    own, shared = (use.own, step.settings) if step.whole else (_for_known(use.own, use), _for_known(step.settings, use))
    present = [
        *unknown([use.card], use.own),
        *wrong_values(use.card, own, use.models, use.base),
        *wrong_values(use.card, shared, step.models, step.base),
        *measured.complaints(use.card, step, use.models),
    ]
    if not step.whole:
        return present
    absent = [
        *lacking(use.card, (*own, *shared), use.models, use.place),
        *measured.lacking(use.card, step, use.models, use.place),
    ]
    return [*_base_complaints(use), *_count_complaints(use), *present, *absent]


def _for_known(settings: Sequence[Setting], use: Use) -> list[Setting]:
    """Without those for models that the text misspells."""
    return [setting for setting in settings if setting.model in (None, use.base, *use.models)]


def _base_complaints(use: Use) -> list[LigateError]:
    if use.card.base == "required" and use.base is None:
        hint = "name the model that the others were made from; with --method, by --base"
        return [RecipeError(f"`{use.card.id}` needs a `base:`", where=str(use.place), hint=hint)]
    if use.card.base == "unused" and use.base is not None:
        hint = f"to merge it with the others, list `{use.base}` under `models:`"
        return [RecipeError(f"`{use.card.id}` uses no `base:`", where=str(use.place), hint=hint)]
    return []


def _count_complaints(use: Use) -> list[LigateError]:
    fewest, most = use.card.models
    count = len(use.models)
    if fewest <= count <= (count if most is None else most):
        return []
    wanted = f"{fewest}" if fewest == most else f"at least {fewest}" if most is None else f"{fewest} to {most}"
    noun = "model" if (most or fewest) == 1 else "models"
    besides = " besides the base" if use.base else ""
    return [RecipeError(f"`{use.card.id}` merges {wanted} {noun}{besides}, not {count}", where=str(use.place))]
