"""`search:` of a recipe: which parameters of its merge `ligate search` looks for, within which limits, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ligate.core.errors import RecipeError
from ligate.core.space import SAMPLERS, Among, Between, Sampler, Sought, Value
from ligate.core.suggest import nearest
from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import SearchSpec, Step

from .ligate_data import at_least
from .ligate_tokenizer import flag

SEARCH = ("parameters", "sampler", "budget", "seed", "front")
SOUGHT = ("low", "high", "log", "choices", "knots", "per")
Over = TypeVar("Over", Among, Between)

_HOMES = {
    **dict.fromkeys(SEARCH, "under `search:`"),
    **dict.fromkeys(SOUGHT, "in a parameter of `search:`"),
}


def search(reading: Reading, item: Item | None, steps: Sequence[Step]) -> SearchSpec | None:
    """What is told under `search:`; None where nothing is."""
    if item is None or item.value is None:
        return None
    fields = reading.fields(item, "`search`", SEARCH, _HOMES)
    if len(steps) > 1:
        reading.problem("a recipe of several steps cannot be searched", item.place, "write the earlier ones to disk")
    wanted = fields.get("parameters")
    each = reading.fields(wanted, "`parameters` of a search")
    if not each and not reading.misspelt(item, "parameters"):
        place = wanted.place if wanted else item.place
        reading.problem("`search` names no `parameters:`", place, "for example `scale: {low: 0.3, high: 3, log: true}`")
    models = steps[0].models if steps else ()
    found = {name: _sought(reading, name, entry, models) for name, entry in each.items()}
    return SearchSpec(
        tuple(sought for sought in found.values() if sought),
        {name: entry.place for name, entry in each.items()},
        _sampler(reading, fields.get("sampler")),
        at_least(reading, fields, "budget", 1, SearchSpec.budget),
        reading.whole(fields.get("seed"), "`seed`", SearchSpec.seed),
        flag(reading, fields.get("front"), "`front`"),
        item.place,
    )


def _sought(reading: Reading, name: str, item: Item, models: tuple[str, ...]) -> Sought | None:
    before = len(reading.problems)
    what = f"`{name}` of a search"
    fields = reading.fields(item, what, SOUGHT, _HOMES)
    per = reading.text(fields.get("per"), "`per`")
    if per not in (None, "model"):
        reading.problem(f"`per` is `model` or left out, not '{per}'", fields["per"].place)
    knots = at_least(reading, fields, "knots", 1, 1)
    over = _choices(reading, fields, item) if "choices" in fields else _limits(reading, name, fields, item)
    if over is None or len(reading.problems) > before:
        return None
    return Sought(name, over, knots, models if per else ())


def _choices(reading: Reading, fields: Mapping[str, Item], around: Item) -> Among | None:
    for key in ("low", "high", "log"):
        if key in fields:
            reading.problem(f"both `choices` and `{key}`", fields[key].place, "a list of values, or limits")
    values: list[Value] = []
    for entry in reading.entries(fields["choices"], "`choices`"):
        if isinstance(entry.value, (str, int, float)):
            values.append(entry.value)
        else:
            reading.wrong(entry, "a choice", "a word or a number")
    return _made(reading, fields.get("choices") or around, lambda: Among(tuple(values)))


def _limits(reading: Reading, name: str, fields: Mapping[str, Item], around: Item) -> Between | None:
    lacking = [key for key in ("low", "high") if key not in fields and not reading.misspelt(around, key)]
    if lacking and isinstance(around.value, Mapping):
        hint = "`{low: 0, high: 1}`, or `{choices: [a, b]}`"
        reading.problem(f"`{name}` has no `{lacking[0]}:`", around.place, hint)
        return None
    low, high = (reading.number(fields.get(key), f"`{key}`", 0.0) for key in ("low", "high"))
    log = flag(reading, fields.get("log"), "`log`")
    return _made(reading, around, lambda: Between(low, high, log))


def _sampler(reading: Reading, item: Item | None) -> Sampler:
    written = reading.text(item, "`sampler`")
    for sampler in SAMPLERS:
        if written == sampler:
            return sampler
    if item is not None and written is not None:
        reading.problem(f"there is no sampler '{written}'", item.place, nearest(written, SAMPLERS))
    return SearchSpec.sampler


def _made(reading: Reading, item: Item, make: Callable[[], Over]) -> Over | None:
    """What its own checks let pass."""
    try:
        return make()
    except RecipeError as error:
        reading.problem(error.problem, item.place, error.hint)
        return None
