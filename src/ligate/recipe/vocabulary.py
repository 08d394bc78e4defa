"""Models with different vocabularies: which row of which model is each row of the result.

Rows belong together when they stand for the same token, whatever their numbers. A model that lacks a token takes its
row from the base, else from those who have it; a recipe may say otherwise token by token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ligate.core.errors import LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.io.rows import FILLED, MEAN, Layout, Origin, Rows
from ligate.io.vocabulary_union import tokens_of

from .findings import counted, listed
from .schema import TokenRow
from .vocabulary_tensors import VocabularyTensors


@dataclass(frozen=True)
class Speaker:
    """A model with rows for tokens; `numbers` holds only those that it has rows for."""

    label: str
    tensors: VocabularyTensors
    numbers: Mapping[int, str]
    tokens: Mapping[str, int]


@dataclass(frozen=True)
class Target:
    """The vocabulary of the result, and how many rows it has: the last ones may stand for no token."""

    numbers: Mapping[int, str]
    rows: int


@dataclass(frozen=True)
class Wishes:
    """What a recipe says of rows that a model lacks: whose row goes first, and token by token.

    `made` holds, by label and number, rows that were made for a model. They go before those of other models, and behind
    what is said of a single token.
    """

    base: str | None
    tokens: Mapping[str, TokenRow]
    made: Mapping[str, Mapping[int, Origin]] = field(default_factory=dict)


def speaker(label: str, tensors: VocabularyTensors, numbers: Mapping[int, str]) -> Speaker:
    held = {number: token for number, token in numbers.items() if number < tensors.rows}
    return Speaker(label, tensors, held, tokens_of(held))


def target(numbers: Mapping[int, str], rows: int, multiple: int) -> Target:
    """At least `rows`, enough for every number, and a multiple."""
    needed = max(rows, max(numbers, default=-1) + 1)
    return Target(numbers, -(-needed // multiple) * multiple)


def layouts(
    wanted: Target, merged: Sequence[Speaker], givers: Sequence[Speaker], wishes: Wishes
) -> Mapping[str, Mapping[str, Rows]]:
    """By model and tensor, whence its rows come; tensors that stay as they are are left out.

    `merged` are the models that take part, `givers` further ones that the wishes name. A row comes from models that
    have the tensor. The same layout serves all tensors that the same models have.
    """
    found: dict[str, dict[str, Rows]] = {one.label: {} for one in merged}
    made: dict[tuple[str, ...], Mapping[str, Layout]] = {}
    for name in dict.fromkeys(name for one in merged for name in one.tensors.axes):
        holders = [one for one in merged if name in one.tensors.axes]
        others = [one for one in givers if name in one.tensors.axes]
        key = tuple(one.label for one in (*holders, *others))
        if key not in made:
            made[key] = _layouts_of(wanted, holders, others, wishes)
        for one in holders:
            layout = made[key][one.label]
            if not (layout.is_plain and len(layout.own) == one.tensors.rows):
                found[one.label][name] = Rows(one.tensors.axes[name], layout)
    return found


def _layouts_of(
    wanted: Target, holders: Sequence[Speaker], others: Sequence[Speaker], wishes: Wishes
) -> Mapping[str, Layout]:
    known = {one.label: one for one in (*holders, *others)}
    origins: dict[int, Sequence[Origin] | None] = {}
    for number, token in wanted.numbers.items():
        wish = wishes.tokens.get(token)
        if (wish is not None and wish.force) or any(token not in one.tokens for one in holders):
            origins[number] = _origins(token, wish or TokenRow(token), holders, known, wishes.base)
    return {one.label: _layout(wanted, one, origins, wishes) for one in holders}


def _layout(wanted: Target, one: Speaker, origins: Mapping[int, Sequence[Origin] | None], wishes: Wishes) -> Layout:
    own = np.full(wanted.rows, MEAN, np.int64)
    filled: dict[int, Sequence[Origin]] = {}
    made = wishes.made.get(one.label, {})
    for number, token in wanted.numbers.items():
        wish = wishes.tokens.get(token)
        if token in one.tokens and not (wish is not None and wish.force):
            own[number] = number if one.numbers.get(number) == token else one.tokens[token]
        elif wish is None and number in made:
            own[number] = FILLED
            filled[number] = [made[number]]
        elif (rows := origins[number]) is not None:
            own[number] = FILLED
            filled[number] = rows
    for number in range(min(wanted.rows, one.tensors.rows)):  # rows without a token, here and there
        if number not in wanted.numbers and number not in one.numbers:
            own[number] = number
    return Layout(own, filled)


def _origins(
    token: str, wish: TokenRow, holders: Sequence[Speaker], known: Mapping[str, Speaker], base: str | None
) -> Sequence[Origin] | None:
    """The rows to average for a token; None for the average of all rows."""
    if wish.kind == "mean":
        return None
    if wish.kind == "zero":
        return ()
    if wish.kind == "model":
        return _wished(wish, known)
    having = [(one.label, one.tokens[token]) for one in holders if token in one.tokens]
    of_base = [origin for origin in having if origin[0] == base and wish.kind == "default"]
    return of_base or having


def _wished(wish: TokenRow, known: Mapping[str, Speaker]) -> Sequence[Origin]:
    """The row of the model that a wish names; none where there is none, which `complaints` tells."""
    giver = known.get(wish.model or "")
    number = _number(wish, giver) if giver else -1
    return [(giver.label, number)] if giver and number >= 0 else ()


def _number(wish: TokenRow, giver: Speaker) -> int:
    """The row that a wish means in the model it names; -1 where there is none."""
    if isinstance(wish.other, int):
        return wish.other if 0 <= wish.other < giver.tensors.rows else -1
    return giver.tokens.get(wish.other or wish.token, -1)


def complaints(wishes: Wishes, merged: Sequence[Speaker], known: Mapping[str, Speaker]) -> list[LigateError]:
    """What is asked for in vain, each at its line."""
    found: list[LigateError] = []
    for token, wish in wishes.tokens.items():
        where = str(wish.place)
        if wish.kind == "model":
            found += _complaint(wish, merged, known, where)
        elif wish.kind in ("default", "average") and not any(token in one.tokens for one in merged):
            text = f"no model has a row for the token {token!r}"
            hint = "say where its row comes from: `{source: mean}`, or `{source: {model: LABEL, token: OTHER}}`."
            found.append(RecipeError(text, where=where, hint=hint))
    return found


def _complaint(
    wish: TokenRow, merged: Sequence[Speaker], known: Mapping[str, Speaker], where: str
) -> list[LigateError]:
    giver = known.get(wish.model or "")
    if giver is None:
        text = f"`{wish.model}` has no rows for tokens that could be taken"
        return [RecipeError(text, where=where, hint=nearest(wish.model or "", known))]
    lacking = [name for one in merged for name in one.tensors.axes if name not in giver.tensors.axes]
    if lacking:
        text = f"`{giver.label}` has no `{lacking[0]}` from which the row of {wish.token!r} could come"
        hint = f"where it is tied to another tensor, give that source `alias: {{{lacking[0]}: OTHER}}`."
        return [RecipeError(text, where=where, hint=hint)]
    if _number(wish, giver) >= 0:
        return []
    if isinstance(wish.other, int):
        text = f"`{giver.label}` has no row {wish.other}: it has {giver.tensors.rows:,}"
        return [RecipeError(text, where=where, hint="rows are counted from 0.")]
    text = f"`{giver.label}` has no row for the token {wish.other or wish.token!r}"
    return [RecipeError(text, where=where, hint="write the token as `tokenizer.json` has it.")]


def notes(wanted: Target, merged: Sequence[Speaker], wishes: Wishes) -> list[str]:
    """What a person should know of the rows: how many a model takes from others, tokens that have none anywhere."""
    total = len(wanted.numbers)
    found = [
        f"{one.label}: {lacking:,} of {total:,} tokens are not its own; their rows come from the other models"
        for one in merged
        if (lacking := sum(_is_foreign(one, number, token, wishes) for number, token in wanted.numbers.items()))
    ]
    orphans = [
        token
        for number, token in wanted.numbers.items()
        if token not in wishes.tokens and all(_is_foreign(one, number, token, wishes) for one in merged)
    ]
    if orphans:
        found.append(f"no model has a row for {counted(orphans, 'token')}: {listed(orphans)}; theirs are zero")
    for one in merged:
        found += [
            f"{one.label}: `{name}` is not known to have a row for each of these tokens: it is merged as it stands"
            for name in one.tensors.doubtful
        ]
    return found


def _is_foreign(one: Speaker, number: int, token: str, wishes: Wishes) -> bool:
    """Whether a model neither has a row for a token nor got one made."""
    made = token not in wishes.tokens and number in wishes.made.get(one.label, {})
    return token not in one.tokens and not made
