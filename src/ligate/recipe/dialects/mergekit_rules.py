"""What mergekit's methods and parameters are called here, and the values that mergekit uses when none is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ligate.core.suggest import nearest
from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Gradient, Setting, Value

from .mergekit_syntax import PARAMETERS, Given

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "y", "t", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "f", "0"), False),
}


class Meaning(NamedTuple):
    """A parameter of mergekit in our words.

    `of`: one value for the merge, one for each input (the base is one), or one for each model besides the base.
    `words`: what a switch turned off and on is called here.
    """

    name: str
    of: Literal["merge", "input", "model"]
    switch: bool = False
    words: tuple[str, str] | None = None


@dataclass(frozen=True)
class Rule:
    """A method of mergekit. `fixed` are its defaults, and what it does without being asked, as parameters of ours."""

    id: str
    base: bool  # whether the models are seen as changes of a base
    params: Mapping[str, Meaning]
    required: str | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)


_DELTAS = {
    "weight": Meaning("weight", "model"),
    "normalize": Meaning("normalize", "merge", switch=True),
    "lambda": Meaning("scale", "merge"),
}
_SPARSE = {
    **_DELTAS,
    "density": Meaning("density", "model"),
    "rescale": Meaning("rescale", "merge", switch=True, words=("none", "l1")),
}

RULES: Mapping[str, Rule] = {
    "linear": Rule(
        "merge/linear",
        base=False,
        params={"weight": Meaning("weight", "input"), "normalize": Meaning("normalize", "merge", switch=True)},
        required="weight",
        fixed={"normalize": True},
    ),
    "slerp": Rule(
        "merge/slerp",
        base=True,
        params={"t": Meaning("t", "merge")},
        required="t",
        fixed={"straight_above": 0.9995, "vectors": "curved", "no_angle": "right"},
    ),
    "task_arithmetic": Rule(
        "merge/task_arithmetic",
        base=True,
        params=_DELTAS,
        required="weight",
        fixed={"normalize": False, "scale": 1.0},
    ),
    "ties": Rule(
        "merge/ties",
        base=True,
        params=_SPARSE,
        required="weight",
        fixed={
            "density": 1.0,
            "normalize": True,
            "scale": 1.0,
            "rescale": "none",
            "scope": "tensor",
            "tie": "positive",
        },
    ),
    "dare_linear": Rule(
        "merge/dare_linear",
        base=True,
        params=_SPARSE,
        required="weight",
        fixed={"density": 1.0, "normalize": False, "scale": 1.0, "rescale": "l1"},
    ),
    "dare_ties": Rule(
        "merge/dare_ties",
        base=True,
        params=_SPARSE,
        required="weight",
        fixed={
            "density": 1.0,
            "normalize": False,
            "scale": 1.0,
            "rescale": "l1",
            "trim": 1.0,
            "scope": "tensor",
            "tie": "positive",
        },
    ),
    "passthrough": Rule(
        "merge/passthrough",
        base=False,
        params={"scale": Meaning("scale", "input")},
        fixed={"scale": 1.0},
    ),
}

TO_COME = (
    *("nuslerp", "multislerp", "karcher", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear"),
    *("sce", "model_stock", "nearswap", "arcee_fusion", "ram", "ramplus_tl"),
)


def rule(reading: Reading, method: Item) -> Rule | None:
    """The rule that `merge_method:` names; what is wrong with the name goes to `reading`."""
    name = method.text
    if name in RULES:
        return RULES[name]
    if name in TO_COME:
        text, hint = f"`merge_method: {name}` is not available yet", f"available: {', '.join(RULES)}"
    else:
        text, hint = f"`{name}` is no merge method", nearest(name.replace("-", "_"), (*RULES, *TO_COME))
    reading.problem(text, method.place, hint)
    return None


class Meant:
    """Turns parameters as written into settings of one method."""

    def __init__(self, reading: Reading, notes: list[str], method: str) -> None:
        self.reading = reading
        self.notes = notes
        self.method = method
        self.rule = RULES[method]

    def settings(self, given: Iterable[Given], *, model: str | None = None, is_base: bool = False) -> list[Setting]:
        """Settings in the order of their precedence. `model` is the label under which they stand, if any."""
        return [setting for one in given if (setting := self._setting(one, model, is_base)) is not None]

    def _setting(self, given: Given, model: str | None, is_base: bool) -> Setting | None:
        meaning = self.rule.params.get(given.name)
        if meaning is None:
            self._without_meaning(given)
            return None
        if model is not None and meaning.of == "merge":
            hint = "move it to the `parameters:` of the whole config or of a slice"
            text = f"`{given.name}` of `{self.method}` is one value for all models, not one for `{model}`"
            self.reading.problem(text, given.place, hint)
            return None
        if is_base and meaning.of == "model":
            self._note(given, f"`{given.name}` of the base has no effect")
            return None
        values = tuple(self._value(given.name, meaning, item) for item in given.values)
        if None in values:
            return None
        value = Gradient(values) if given.spread else values[0]
        return Setting(meaning.name, value, model, given.filter, "substring", given.place, meaning.of != "merge")

    def _without_meaning(self, given: Given) -> None:
        if given.name in PARAMETERS:
            self._note(given, f"`{given.name}` has no effect in `{self.method}`")
        else:
            hint = nearest(given.name, self.rule.params)
            self.reading.problem(f"`{self.method}` has no parameter `{given.name}`", given.place, hint)

    def _note(self, given: Given, text: str) -> None:
        self.notes.append(f"{given.place}: {text}, as in mergekit")

    def _value(self, name: str, meaning: Meaning, item: Item) -> Value:
        return self._switched(name, meaning, item) if meaning.switch else self._number(name, item)

    def _number(self, name: str, item: Item) -> Value:
        """Quoted numbers are numbers, as in mergekit; `true` is none."""
        if isinstance(item.value, str) and _NUMBER.fullmatch(item.value):
            return float(item.value)
        if isinstance(item.value, bool) or not isinstance(item.value, (int, float)):
            self.reading.problem(f"`{name}` must be a number, not `{item.text}`", item.place)
            return None
        return item.value

    def _switched(self, name: str, meaning: Meaning, item: Item) -> Value:
        on = _SWITCHES.get(item.text.lower())
        if on is None:
            self.reading.problem(f"`{name}` must be true or false, not `{item.text}`", item.place)
            return None
        return meaning.words[on] if meaning.words else on
