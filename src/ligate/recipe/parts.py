"""Which tensors go into which tensor of the result: the layout of a step, before any number is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ligate.core.layers import layers
from ligate.core.method import Card
from ligate.core.tensors import Header

from .architecture import depths
from .schema import Place, Setting

Headers = Mapping[str, Mapping[str, Header]]
"""By label, then by tensor name."""


class Row(NamedTuple):
    """One tensor of the result and its name in each model of the part (base first); None where a model lacks it."""

    name: str
    inputs: tuple[str | None, ...]
    depth: float | None


@dataclass(frozen=True)
class Part:
    """Tensors of the result that come from the same models by the same method. `card` is None for an unknown method."""

    card: Card | None
    base: str | None
    models: tuple[str, ...]
    settings: tuple[Setting, ...]
    rows: Sequence[Row]
    place: Place

    @property
    def labels(self) -> tuple[str, ...]:
        return (*((self.base,) if self.base else ()), *self.models)


def same_name_rows(headers: Headers, labels: Sequence[str]) -> tuple[Row, ...]:
    """The union of all names: the first model's in its stored order, then what only others have."""
    held = [headers[label] for label in labels]
    names = dict.fromkeys(name for tensors in held for name in tensors)
    depth = depths(layers(names))
    return tuple(Row(name, tuple(name if name in own else None for own in held), depth.get(name)) for name in names)
