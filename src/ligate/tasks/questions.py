"""Questions out of the user's rows: what is asked, which class is right, in an order drawn by hash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2s
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ligate.core.errors import InputError
from ligate.core.suggest import nearest

from .digests import digest_of
from .tables import STATE, Row, Table

_WHOLE = re.compile(r"[0-9]+")
_UNNAMED = re.compile(r"LABEL_[0-9]+")


class Spec(Protocol):
    """What the user said of a task; places are told in messages."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> object: ...
    @property
    def columns(self) -> Mapping[str, str]:
        """text, pair, label, source, image -> column of the data."""
        ...

    @property
    def columns_at(self) -> object: ...
    @property
    def classes(self) -> Mapping[str, str] | None:
        """Label in the data -> phrase."""
        ...


class Picture(NamedTuple):
    """An image that is opened when it is needed. `name` tells it from others, `mark` from what it was before."""

    name: str
    mark: str
    open: Callable[[], Any]


Content = tuple[str, ...] | Picture


class Asked(NamedTuple):
    """A question: one text, a pair of texts, or an image; where it comes from; the number of the right class."""

    content: Content
    source: str
    answer: int
    where: str = ""

    @property
    def key(self) -> str:
        return self.content.name if isinstance(self.content, Picture) else "\n".join(self.content)

    @property
    def all_of_it(self) -> str:
        """What a network sees, for digests."""
        return self.content.mark if isinstance(self.content, Picture) else repr(self.content)


def share_of(text: str) -> float:
    """Between 0 and 1, the same for the same text everywhere."""
    return int.from_bytes(blake2s(text.encode(), digest_size=8).digest(), "big") / 2**64


def draft(spec: Spec, table: Table, row: Row) -> tuple[Asked, str]:
    """The question of a row without its answer, and the label as it stands there: none where no column has them."""
    content = _content(spec, table, row)
    label = _said(row.values.get(spec.columns["label"])) if "label" in spec.columns else ""
    if label == "" and "label" in spec.columns:
        raise InputError("has no label", where=row.where, hint="label it or remove it.")
    own = content.name if isinstance(content, Picture) else "\n".join(content)
    source = _said(row.values[spec.columns["source"]]) if "source" in spec.columns else own
    return Asked(content, source, 0, row.where), label


def _content(spec: Spec, table: Table, row: Row) -> Content:
    if "image" in spec.columns:
        return _picture(row, row.values.get(spec.columns["image"]), table.start)
    texts = tuple(_said(row.values.get(spec.columns[what])) for what in ("text", "pair") if what in spec.columns)
    if not all(text.strip() for text in texts):
        raise InputError("has no text", where=row.where, hint="write one or remove the row.")
    return texts


def _picture(row: Row, value: Any, start: Path) -> Picture:
    if callable(value):
        return Picture(row.where, f"{row.where} {row.values.get(STATE, '')}", value)
    if not isinstance(value, str):
        raise InputError("has no path of an image", where=row.where, hint="files name images by path.")
    path = start / value
    if not path.is_file():
        raise InputError(f"there is no image '{value}'", where=row.where, hint=f"paths start at {start}.")
    return Picture(value, digest_of([path.read_bytes()]), lambda: _opened(path))


def _opened(path: Path) -> Any:
    from PIL import Image  # pyright: ignore[reportMissingImports] - asked for before

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise InputError(f"is no image: {error}", where=str(path)) from error


def _said(value: Any) -> str:
    """As a CSV file would have it: 3.0 of a column that once had holes is the label 3."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def ordered(asked: Iterable[Asked]) -> list[Asked]:
    """Each question once, in an order that has nothing to do with that of the file."""
    once = {(one.key, one.answer): one for one in asked}
    return sorted(once.values(), key=lambda one: (share_of(f"draw/{one.key}"), one.key, one.answer))


def classes_of(
    spec: Spec, labels: Sequence[str] | None, names: Sequence[str], found: Sequence[str]
) -> Mapping[str, str]:
    """Label -> phrase, in the order of the classes' numbers: as told, as the model (`labels`) or the data name them."""
    if spec.classes is not None:
        return spec.classes
    written = found if "label" in spec.columns else ()
    if written and len(set(written)) < 2:
        raise InputError(
            f"task `{spec.name}` has one class: there is nothing to tell apart",
            where=str(spec.columns_at),
            hint=f"the column '{spec.columns['label']}' says '{written[0]}' in every row.",
        )
    return {label: label.replace("_", " ") for label in labels or names or sorted(set(written))}


def numbers_of(classes: Mapping[str, str], names: Sequence[str], found: Sequence[str]) -> Mapping[str, int]:
    """What the labels of the data mean: names of classes, or numbers from 0 on."""
    by_name = {label: number for number, label in enumerate(classes)}
    by_place = {str(number): number for number in range(len(classes))}
    written = set(found)
    if not written <= by_name.keys():
        if names and all(name in by_name for name in names):  # numbers of the data set, names in the YAML
            return {str(place): by_name[name] for place, name in enumerate(names)}
        if all(_WHOLE.fullmatch(label) for label in written) and not any(_WHOLE.fullmatch(one) for one in by_name):
            return by_place
    return by_name


def number_of(one: Asked, label: str, numbers: Mapping[str, int], classes: Mapping[str, str]) -> int:
    if not classes:
        return 0
    if label not in numbers:
        known = nearest(label, numbers)
        if all(_UNNAMED.fullmatch(name) for name in classes):
            known = "the model does not name its classes: list them as `classes:`, in the order of its head."
        raise InputError(f"the label '{label}' is not among the {len(classes)} classes", where=one.where, hint=known)
    return numbers[label]
