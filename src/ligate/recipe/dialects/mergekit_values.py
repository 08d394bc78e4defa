"""Single values as mergekit reads them; None, which is told, for what it would refuse."""

from __future__ import annotations

import re

from ligate.recipe.nodes import Item, Reading

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "y", "t", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "f", "0"), False),
}


def number(reading: Reading, name: str, item: Item) -> float | None:
    """Quoted numbers are numbers, as in mergekit; `true` is none."""
    if isinstance(item.value, str) and _NUMBER.fullmatch(item.value):
        return float(item.value)
    if isinstance(item.value, bool) or not isinstance(item.value, (int, float)):
        reading.problem(f"`{name}` must be a number, not `{item.text}`", item.place)
        return None
    return item.value


def switched(reading: Reading, name: str, item: Item) -> bool | None:
    """On or off, in any of the words that mergekit takes."""
    on = _SWITCHES.get(item.text.lower())
    if on is None:
        reading.problem(f"`{name}` must be true or false, not `{item.text}`", item.place)
    return on
