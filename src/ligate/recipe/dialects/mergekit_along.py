"""The two switches of mergekit's nuslerp make one word of ours between them.

nuslerp_flatten    nuslerp_row_wise    along
true               either              tensor
false              false               rows, over the last axis
false              true                columns, over the first axis
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Gradient, Place, Setting, Value

from .mergekit_methods import FLAT, ROW_WISE
from .mergekit_syntax import Given
from .mergekit_values import switched


def along(reading: Reading, given: Sequence[Given]) -> list[Setting]:
    """`given` are all parameters that reach the same tensors, in the order of their precedence."""
    flat = {one: _switched(reading, one) for one in _reached(given, FLAT, default="true")}
    turned = {one: _switched(reading, one) for one in _reached(given, ROW_WISE, default="false")}
    if any(None in values for values in (*flat.values(), *turned.values())):
        return []
    words = {one: ["columns" if on else "rows" for on in values] for one, values in turned.items()}
    return [setting for one, whole in flat.items() for setting in _settings(reading, one, whole, words)]


def _reached(given: Sequence[Given], name: str, default: str) -> list[Given]:
    """Up to the one that speaks of every tensor, which is mergekit's default where none does."""
    found: list[Given] = []
    for one in (*given, Given(name, (Item(default, Place(), default),), False, None, Place())):
        if one.name == name:
            found.append(one)
            if one.filter is None:
                break
    return found


def _switched(reading: Reading, given: Given) -> list[bool | None]:
    return [switched(reading, given.name, item) for item in given.values]


def _settings(
    reading: Reading, flat: Given, whole: Sequence[bool | None], words: Mapping[Given, Sequence[str]]
) -> list[Setting]:
    """Of the tensors for which `flat` decides; where it says no, by the words of the other switch."""
    if all(whole):
        return [_setting(flat, ["tensor"])]
    first = next(iter(words))
    if first.filter is None and not first.spread:
        return [_setting(flat, ["tensor" if on else words[first][0] for on in whole], flat.spread)]
    if flat.filter is None and not flat.spread:
        return [_setting(one, words[one], one.spread) for one in words]
    text = f"`{FLAT}` and `{ROW_WISE}` are both given by filter or over the layers"
    reading.problem(text, flat.place, "one of them must have one value for all tensors")
    return []


def _setting(given: Given, words: Sequence[str], spread: bool = False) -> Setting:
    value: Value | Gradient = Gradient(tuple(words)) if spread else words[0]
    return Setting("along", value, match=given.filter, style="substring", place=given.place, written=given.name)
