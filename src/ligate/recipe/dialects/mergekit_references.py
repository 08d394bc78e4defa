"""A model as a mergekit config names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ligate.recipe.nodes import Item, Reading
from ligate.recipe.schema import Place

REFERENCE = ("model", "lora", "override_architecture")


class Reference(NamedTuple):
    """A model as mergekit names it: `path[@revision][+lora[@revision]]`."""

    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None


def reference(reading: Reading, item: Item | None, notes: list[str]) -> Reference | None:
    """A model as a text or as a mapping; None where there is none, or where it cannot be understood."""
    if item is None or item.value is None:
        return None
    if not isinstance(item.value, Mapping):
        written = reading.text(item, "a model")
        if written == "":
            reading.problem("a model without a name", item.place, "a folder, or org/name on the Hub")
        return _parsed(reading, written, item.place) if written else None
    fields = reading.fields(item, "a model", REFERENCE)
    if "override_architecture" in fields:
        text = "`override_architecture` has no effect: tensors are merged by their names, whatever the architecture"
        notes.append(f"{fields['override_architecture'].place}: {text}")
    model = _located(reading, fields.get("model"))
    if model is None:
        reading.problem("`model:` is missing", item.place, "a folder, or org/name on the Hub")
        return None
    return Reference(*model, *(_located(reading, fields.get("lora")) or ()))


def _parsed(reading: Reading, written: str, place: Place) -> Reference | None:
    parts = written.split("+")
    if len(parts) > 2 or any(part.count("@") > 1 or not part.partition("@")[0] for part in parts):
        hint = "a model is `path[@revision][+lora[@revision]]`; use the mapping form for a path with `+` or `@`"
        reading.problem(f"`{written}` cannot be understood", place, hint)
        return None
    return Reference(*_split(parts[0]), *(_split(parts[1]) if len(parts) > 1 else ()))


def _split(text: str) -> tuple[str, str | None]:
    path, _, revision = text.partition("@")
    return path, revision or None


def _located(reading: Reading, item: Item | None) -> tuple[str, str | None] | None:
    """`path@revision`, or `{path: ..., revision: ...}`, where the path may hold any sign."""
    if item is None or item.value is None:
        return None
    if not isinstance(item.value, Mapping):
        written = reading.text(item, "a path")
        return _split(written) if written else None
    fields = reading.fields(item, "a path", ("path", "revision"))
    path = reading.text(fields.get("path"), "`path`")
    if not path:
        reading.problem("`path:` is missing", item.place)
    return path or "", reading.text(fields.get("revision"), "`revision`")
