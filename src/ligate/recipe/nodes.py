"""YAML as a tree in which every value knows its line, read without trusting the file.

Plain data only: no object tags, no duplicate keys, a bounded number of values however often an alias repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from ligate.core.errors import LigateError, RecipeError, raise_all
from ligate.core.suggest import nearest

from .schema import Place, Value

MOST_BYTES = 8 << 20  # a learned recipe has a line for each tensor and model
MOST_ITEMS = 500_000
DEEPEST = 64

_KINDS = ("null", "bool", "int", "float", "str", "timestamp", "value", "seq", "map")
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)
_MERGE = "tag:yaml.org,2002:merge"
_WORDS: Mapping[str, Value] = {
    **dict.fromkeys(("", "~", "null"), None),
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.?(inf|nan)", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """A value and the line of its key (of the value itself in a list). `text` is a scalar as it is written."""

    value: Mapping[str, Item] | Sequence[Item] | Value
    place: Place
    text: str = ""

    @property
    def kind(self) -> str:
        """What a reader of the file would call it."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return "true or false"
            case int() | float():
                return "a number"
            case str():
                return "a text"
            case Mapping():
                return "a mapping"
            case _:
                return "a list"


def plain_data(item: Item) -> Any:
    """The value without its places."""
    if isinstance(item.value, Mapping):
        return {key: plain_data(child) for key, child in item.value.items()}
    if isinstance(item.value, Sequence) and not isinstance(item.value, str):
        return [plain_data(child) for child in item.value]
    return item.value


class Documents(NamedTuple):
    """A YAML text. `problems` of its form, such as a key that stands there twice, do not keep it from being read."""

    items: tuple[Item, ...]
    problems: tuple[LigateError, ...]


def read(text: str, file: str) -> tuple[Item, ...]:
    """The documents of a YAML text; every problem in its form is told at once."""
    items, problems = read_all(text, file)
    raise_all(problems)
    return items


def read_all(text: str, file: str) -> Documents:
    """The documents of a YAML text and what is wrong with its form.

    Raises:
        RecipeError: nothing can be made of it.
    """
    if len(text) > MOST_BYTES:
        raise RecipeError(f"a recipe of {len(text):,} characters", where=file, hint="is this the right file?")
    documents = _compose(text, file)
    if not documents:
        raise RecipeError("the recipe is empty", where=file, hint="`ligate init` writes one to start from")
    tree = _Tree(file)
    items = tuple(tree.item(node, Place(file, node.start_mark.line + 1), 0) for node in documents)
    return Documents(items, tuple(tree.problems))


def _compose(text: str, file: str) -> list[yaml.Node]:
    try:
        return [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1 if mark else 0)
        hint = _yaml_hint(f"{error.context} {error.problem}")
        raise RecipeError(f"not valid YAML: {error.problem or error.context}", where=str(place), hint=hint) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"not valid YAML: {str(error).partition(chr(10))[0]}", where=file) from None
    except RecursionError:
        raise RecipeError("not a recipe: values are nested too deep", where=file) from None


def _yaml_hint(complaint: str) -> str:
    if "alias" in complaint:
        return 'a text that begins with `*` needs quotes: "*.mlp.*"'
    if "'\\t'" in complaint:
        return "indentation is made of spaces, not tabs"
    return "a text with `: ` or `#` in it needs quotes" if "mapping values" in complaint else ""


class _Tree:
    """Turns composed nodes into items; counts them, since a few aliases can stand for billions of values."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.problems: list[LigateError] = []

    def item(self, node: yaml.Node, place: Place, depth: int) -> Item:
        self.count += 1
        if self.count > MOST_ITEMS or depth > DEEPEST:
            what = f"more than {MOST_ITEMS:,} values" if depth <= DEEPEST else f"more than {DEEPEST} levels"
            raise RecipeError(f"{what}, aliases (`*name`) included", where=str(place), hint="write the values out")
        if node.tag not in _TAGS:
            self._problem(f"the tag `{node.tag}` is not plain data", place, "recipes hold texts, numbers and lists")
            return Item(None, place)
        if isinstance(node, yaml.MappingNode):
            return Item(self._mapping(node, depth), place)
        if isinstance(node, yaml.SequenceNode):
            return Item(tuple(self.item(child, self._place(child), depth + 1) for child in node.value), place)
        quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return Item(node.value if quoted else plain(node.value), place, node.value)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> Mapping[str, Item]:
        own: dict[str, Item] = {}
        merged: dict[str, Item] = {}
        for key, child in node.value:
            place = self._place(key)
            if key.tag == _MERGE:
                for name, item in self._merged(child, depth):
                    merged.setdefault(name, item)
            elif not isinstance(key, yaml.ScalarNode):
                self._problem("a key must be a text", place)
            elif key.value in own:
                first = own[key.value].place.line
                self._problem(f"`{key.value}` stands here a second time (first in line {first})", place, "keep one")
            else:
                own[key.value] = self.item(child, place, depth + 1)
        return {**merged, **own} if merged else own

    def _merged(self, node: yaml.Node, depth: int) -> Iterable[tuple[str, Item]]:
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(part, yaml.MappingNode):
                value = self.item(part, self._place(part), depth + 1).value
                yield from value.items() if isinstance(value, Mapping) else ()
            else:
                self._problem("`<<` takes a mapping", self._place(part))

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)

    def _problem(self, text: str, place: Place, hint: str = "") -> None:
        self.problems.append(RecipeError(text, where=str(place), hint=hint))


def plain(text: str) -> Value:
    """Numbers as people write them: `1e-3` is one, `1:30` and `0o17` are not."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text) if len(text) < 30 else float(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return float(text.lower().replace(".", "")) if _SPECIAL.fullmatch(text) and "." in text else text


class Reading:
    """Takes values out of items and remembers what is wrong with them, so that all is told at once."""

    def __init__(self) -> None:
        self.problems: list[LigateError] = []
        self._meant: set[tuple[Place, str]] = set()

    def misspelt(self, around: Item, key: str) -> bool:
        """Whether something told of this mapping already explains why it lacks `key`, such as a key much like it."""
        return (around.place, key) in self._meant

    def problem(self, text: str, place: Place, hint: str = "") -> None:
        self.problems.append(RecipeError(text, where=str(place), hint=hint))

    def fields(
        self,
        item: Item | None,
        what: str,
        known: Sequence[str] = (),
        homes: Mapping[str, str] | None = None,
        otherwise: str = "",
    ) -> Mapping[str, Item]:
        """The known keys of a mapping.

        `homes` tells where keys that do not belong here do; `otherwise` is the hint for keys that resemble none.
        """
        if item is None or item.value is None:
            return {}
        if not isinstance(item.value, Mapping):
            self.wrong(item, what, "a mapping (`key: value`)")
            self._meant |= {(item.place, name) for name in known}
            return {}
        for key, child in item.value.items():
            if known and key not in known:
                home = (homes or {}).get(key)
                near = nearest(key, known)
                hint = f"`{key}` belongs {home}" if home else near if near.startswith("did") else otherwise or near
                self.problem(f"{what} has no key `{key}`", child.place, hint)
                # Whichever key the hint suggests.
                self._meant |= {(item.place, name) for name in known if not home and near == nearest(key, [name])}
        return {key: child for key, child in item.value.items() if not known or key in known}

    def entries(self, item: Item | None, what: str) -> Sequence[Item]:
        if item is None or item.value is None:
            return ()
        if isinstance(item.value, (Mapping, str, int, float)):
            self.wrong(item, what, "a list")
            return ()
        return item.value

    def text(self, item: Item | None, what: str) -> str | None:
        """A scalar as it is written: a label may be `7` and a revision `1e5`."""
        if item is None or item.value is None:
            return None
        if isinstance(item.value, (Mapping, Sequence)) and not isinstance(item.value, str):
            self.wrong(item, what, "a text")
            return None
        return item.text

    def number(self, item: Item | None, what: str, default: float) -> float:
        if item is None:
            return default
        if isinstance(item.value, bool) or not isinstance(item.value, (int, float)):
            self.wrong(item, what, "a number")
            return default
        return item.value

    def whole(self, item: Item | None, what: str, default: int) -> int:
        value = self.number(item, what, default)
        if item is not None and not isinstance(value, int):
            self.wrong(item, what, "a whole number")
            return default
        return int(value)

    def wrong(self, item: Item, what: str, wanted: str) -> None:
        self.problem(f"{what} must be {wanted}, not {item.kind}", item.place)
