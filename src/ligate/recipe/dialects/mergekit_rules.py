"""Parameters of a mergekit config become settings of our method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ligate.core.suggest import nearest
from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Gradient, Setting, Value

from .mergekit_along import along
from .mergekit_methods import FLAT, ROW_WISE, RULES, Meaning, Rule
from .mergekit_syntax import PARAMETERS, Given
from .mergekit_values import number, switched


def rule(reading: Reading, method: Item) -> Rule | None:
    """The rule that `merge_method:` names; what is wrong with the name goes to `reading`."""
    name = method.text
    if name not in RULES:
        hint = nearest(name.replace("-", "_"), tuple(RULES))
        reading.problem(f"`{name}` is no merge method", method.place, hint)
    return RULES.get(name)


class Meant:
    """Turns parameters as written into settings of one method."""

    def __init__(self, reading: Reading, notes: list[str], method: str) -> None:
        self.reading = reading
        self.notes = notes
        self.method = method
        self.rule = RULES[method]

    def of_model(self, given: Iterable[Given], model: str, *, is_base: bool) -> list[Setting]:
        """What stands under the model of this label."""
        return [setting for one in given if (setting := self._setting(one, model, is_base)) is not None]

    def of_all(self, given: Sequence[Given], around: Sequence[Given] = ()) -> list[Setting]:
        """What stands in a slice, or `around` it; settings in the order of their precedence."""
        found = [setting for one in given if (setting := self._setting(one, None, False)) is not None]
        joint = any(one.name in (FLAT, ROW_WISE) and one.name in self.rule.params for one in given)
        return [*found, *along(self.reading, (*given, *around))] if joint else found

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
        if given.name in (FLAT, ROW_WISE):
            return None  # `along` sees both
        values = tuple(self._value(given.name, meaning, item) for item in given.values)
        if None in values:
            return None
        value = Gradient(values) if given.spread else values[0]
        return Setting(
            meaning.name,
            value,
            model,
            given.filter,
            "substring",
            given.place,
            in_source=meaning.of != "merge",
            written=given.name if given.name != meaning.name else "",
        )

    def _without_meaning(self, given: Given) -> None:
        if given.name in self.rule.guards:
            self._guard(given, self.rule.guards[given.name])
        elif given.name in PARAMETERS:
            self._note(given, f"`{given.name}` has no effect in `{self.method}`")
        else:
            hint = nearest(given.name, self.rule.params)
            self.reading.problem(f"`{self.method}` has no parameter `{given.name}`", given.place, hint)

    def _guard(self, given: Given, limit: float) -> None:
        """A value that makes no difference is noted, a larger one would be another result."""
        values = [number(self.reading, given.name, item) for item in given.values]
        if all(value is not None and abs(value) <= limit for value in values):
            self.notes.append(f"{given.place}: `{given.name}` has no effect: nothing is added to what is divided by")
        elif None not in values:
            text = f"`{given.name}` above {limit:g} has no counterpart: nothing is added to what is divided by"
            self.reading.problem(text, given.place, f"leave `{given.name}` out")

    def _note(self, given: Given, text: str) -> None:
        self.notes.append(f"{given.place}: {text}, as in mergekit")

    def _value(self, name: str, meaning: Meaning, item: Item) -> Value:
        if not meaning.switch:
            return number(self.reading, name, item)
        on = switched(self.reading, name, item)
        return meaning.words[on] if meaning.words and on is not None else on
