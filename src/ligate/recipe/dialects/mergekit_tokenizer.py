"""`tokenizer_source:` and the `tokenizer:` block of a mergekit config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Place, TokenRow

from .ligate_tokenizer import flag, multiple, other_token
from .mergekit_references import Reference, reference

BLOCK = ("source", "tokens", "pad_to_multiple_of")
ROW = ("source", "force")
ORIGIN = ("kind", "model", "token_id", "token")
KINDS = ("zero", "model_token")


class AskedRow(NamedTuple):
    """A token's row: in `row` everything but the model, which has no label yet."""

    row: TokenRow
    model: Reference | None


class AskedTokenizer(NamedTuple):
    source: Reference | Literal["base", "union"]
    rows: tuple[AskedRow, ...]
    row_multiple: int
    place: Place

    def models(self) -> Sequence[tuple[Reference, Place]]:
        """Every model that it names."""
        own = [(self.source, self.place)] if isinstance(self.source, Reference) else []
        return [*own, *((asked.model, asked.row.place) for asked in self.rows if asked.model)]


def asked_tokenizer(reading: Reading, fields: Mapping[str, Item], notes: list[str]) -> AskedTokenizer | None:
    """None where a config says nothing of it: then the tokenizer is copied."""
    block, source = fields.get("tokenizer"), fields.get("tokenizer_source")
    if block is not None and block.value is not None:
        if source is not None and source.value is not None:
            reading.problem("both `tokenizer:` and `tokenizer_source:`", source.place, "keep one of them")
        inside = reading.fields(block, "`tokenizer`", BLOCK)
        rows = reading.fields(inside.get("tokens"), "`tokens`")
        return AskedTokenizer(
            _source(reading, inside.get("source"), notes) or "union",
            tuple(_row(reading, token, item, notes) for token, item in rows.items()),
            multiple(reading, inside.get("pad_to_multiple_of")),
            block.place,
        )
    asked = _source(reading, source, notes)
    return AskedTokenizer(asked, (), 1, source.place) if source is not None and asked is not None else None


def _source(reading: Reading, item: Item | None, notes: list[str]) -> Reference | Literal["base", "union"] | None:
    if item is not None and item.text == "base":
        return "base"
    return "union" if item is not None and item.text == "union" else reference(reading, item, notes)


def _row(reading: Reading, token: str, item: Item, notes: list[str]) -> AskedRow:
    fields = reading.fields(item, f"token {token!r}", ROW)
    row = TokenRow(token, force=flag(reading, fields.get("force"), "`force`"), place=item.place)
    source = fields.get("source")
    if source is None or source.value is None:
        if row.force:
            reading.problem(f"token {token!r} is forced to nothing", item.place, "say where its row comes from")
        return AskedRow(row, None)
    if isinstance(source.value, Mapping) and "kind" in source.value:
        return _origin(reading, row, source, notes)
    return AskedRow(row._replace(kind="model"), reference(reading, source, notes))


def _origin(reading: Reading, row: TokenRow, item: Item, notes: list[str]) -> AskedRow:
    """`{kind: zero}`, or `{kind: model_token, model: ..., token: ...}`, or with `token_id:`."""
    fields = reading.fields(item, f"the source of {row.token!r}", ORIGIN)
    kind = reading.text(fields.get("kind"), "`kind`")
    if kind == "zero":
        return AskedRow(row._replace(kind="zero"), None)
    if kind != "model_token":
        reading.problem(f"`kind` must be one of {' and '.join(KINDS)}, not {kind!r}", item.place)
        return AskedRow(row, None)
    other = other_token(reading, fields, ("token", "token_id"), item)
    model = reference(reading, fields.get("model"), notes)
    if model is None or other is None:
        text = f"the source of {row.token!r} needs a `model:`, and a `token:` or `token_id:`"
        reading.problem(text, item.place)
    return AskedRow(row._replace(kind="model", other=other), model)
