"""`tokenizer:` in our own dialect: a label, `union`, or a mapping that also says whence the rows of tokens come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ligate.io.vocabulary import MOST
from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import RowKind, TokenRow

UNION = "union"
KEYS = ("source", "tokens", "like", "nearest", "pad_to_multiple_of")
ROW = ("source", "force")
ORIGIN = ("model", "token", "id")
WORDS: Mapping[str, RowKind] = {"zero": "zero", "mean": "mean", "average": "average"}

Label = Callable[[Item | None, str], str | None]


class AskedTokenizer(NamedTuple):
    """The fields of an output that speak of its tokenizer."""

    tokenizer: str | None = None
    union: bool = False
    tokens: tuple[TokenRow, ...] = ()
    row_multiple: int = 1
    like: str | None = None
    nearest: int | None = None


def tokenizer(reading: Reading, label: Label, item: Item | None) -> AskedTokenizer:
    """`label` reads the label of a source and remembers where it is used."""
    if item is None or item.value is None:
        return AskedTokenizer()
    if not isinstance(item.value, Mapping):
        return AskedTokenizer(union=True) if item.text == UNION else AskedTokenizer(label(item, "`tokenizer`"))
    fields = reading.fields(item, "`tokenizer`", KEYS)
    source = fields.get("source")
    named = source is not None and source.value is not None and source.text != UNION
    like = label(fields.get("like"), "`like`")
    return AskedTokenizer(
        label(source, "`source`") if named else None,
        not named,
        tuple(
            _row(reading, label, token, entry)
            for token, entry in reading.fields(fields.get("tokens"), "`tokens`").items()
        ),
        multiple(reading, fields.get("pad_to_multiple_of")),
        like,
        _nearest(reading, fields.get("nearest"), like),
    )


def multiple(reading: Reading, item: Item | None) -> int:
    found = reading.whole(item, "`pad_to_multiple_of`", 1) if item is not None and item.value is not None else 1
    if item is not None and not 1 <= found <= MOST:
        reading.problem(f"`pad_to_multiple_of` must be at least 1 and at most {MOST:,}", item.place)
        return 1
    return found


def _nearest(reading: Reading, item: Item | None, like: str | None) -> int | None:
    if item is None or item.value is None:
        return None
    found = reading.whole(item, "`nearest`", 1)
    if like is None:
        reading.problem("`nearest` says nothing without `like`", item.place, "name the model that knows what is alike")
    elif found < 1:
        reading.problem("`nearest` must be at least 1", item.place)
    return found


def flag(reading: Reading, item: Item | None, what: str) -> bool:
    if item is not None and item.value is not None and not isinstance(item.value, bool):
        reading.wrong(item, what, "true or false")
    return item is not None and item.value is True


def other_token(reading: Reading, fields: Mapping[str, Item], names: tuple[str, str], around: Item) -> str | int | None:
    """A token by its text or by the number of its row; None for neither. `names` are the keys of the two."""
    text, number = fields.get(names[0]), fields.get(names[1])
    if text is not None and number is not None:
        reading.problem(f"both `{names[0]}` and `{names[1]}`", around.place, "keep one of them")
    return reading.whole(number, f"`{names[1]}`", 0) if number is not None else reading.text(text, f"`{names[0]}`")


def _row(reading: Reading, label: Label, token: str, item: Item) -> TokenRow:
    """`zero`, `mean`, `average`, a label, or `{source: ..., force: true}`."""
    if not isinstance(item.value, Mapping):
        return _origin(reading, label, TokenRow(token, place=item.place), item)
    fields = reading.fields(item, f"token {token!r}", ROW, dict.fromkeys(ORIGIN, "under `source:`"))
    force = flag(reading, fields.get("force"), "`force`")
    return _origin(reading, label, TokenRow(token, force=force, place=item.place), fields.get("source"))


def _origin(reading: Reading, label: Label, row: TokenRow, item: Item | None) -> TokenRow:
    if item is None or item.value is None:
        return row
    if not isinstance(item.value, Mapping):
        kind = WORDS.get(item.text)
        return row._replace(kind=kind) if kind else row._replace(kind="model", model=label(item, "a model"))
    fields = reading.fields(item, f"the source of {row.token!r}", ORIGIN)
    if "model" not in fields and not reading.misspelt(item, "model"):
        reading.problem(f"the source of {row.token!r} needs a `model:`", item.place)
    other = other_token(reading, fields, ("token", "id"), item)
    return row._replace(kind="model", model=label(fields.get("model"), "`model`"), other=other)
