"""A model some of whose tensors are narrower than another's, with what they lack taken from there.

Inpainting models have five more input channels than the models they were made from. To merge one with others, the
first tensor of those gets the missing channels of the wide model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ligate.core.errors import InputError, RecipeError
from ligate.core.tensors import Header, Source, itemsize

from .views import View


class Widths(NamedTuple):
    """Elements in a row (all that belongs to one index of the first axis): of the model's own, and in all."""

    own: int
    whole: int


class Filled(View):
    """The model with these tensors as wide as those of `other`, which stays open and is closed by its owner."""

    def __init__(self, inner: Source, other: Source, widths: Mapping[str, Widths]) -> None:
        super().__init__(inner)
        self._other = other
        self._widths = widths
        wide = other.headers()
        self._headers = {name: wide[name] if name in widths else own for name, own in inner.headers().items()}

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        if name not in self._widths:
            self._inner.read_into(name, start, out)
            return
        own, whole = self._widths[name]
        size = itemsize(self._headers[name].dtype)
        at, stop = start, start + len(out) // size
        while at < stop:
            row, place = divmod(at, whole)
            end = min(row * whole + (own if place < own else whole), stop)
            part = out[(at - start) * size : (end - start) * size]
            if place < own:
                self._inner.read_into(name, row * own + place, part)
            else:
                self._other.read_into(name, at, part)
            at = end

    def prefetch(self, name: str, start: int, stop: int) -> None:
        if name not in self._widths:
            self._inner.prefetch(name, start, stop)


def filled(source: Source, other: Source) -> Source:
    """The source as wide as `other` along the second axis, wherever it is narrower there and alike elsewhere.

    Raises:
        RecipeError: no tensor is.
        InputError: such a tensor has another dtype than that of `other`.
    """
    wide = other.headers()
    narrow = {name: own for name, own in source.headers().items() if name in wide and _fits(own, wide[name])}
    if not narrow:
        text = f"no tensor is narrower than in `{other.label}`"
        raise RecipeError(text, where=f"fill of {source.label}", hint="leave it out.")
    for name, own in narrow.items():
        if own.dtype != wide[name].dtype:
            text = f"dtype {own.dtype} here, {wide[name].dtype} in `{other.label}`, from where it is filled"
            hint = (
                "store one of the models in the other's dtype: `ligate merge --method linear MODEL -o OUT --dtype ...`."
            )
            raise InputError(text, hint=hint).inside(tensor=name, model=source.label)
    return Filled(source, other, {name: _widths(own, wide[name]) for name, own in narrow.items()})


def _fits(own: Header, wide: Header) -> bool:
    """Whether only the second axis is shorter."""
    mine, others = own.shape, wide.shape
    if len(mine) != len(others) or len(mine) < 2 or mine[1] >= others[1]:
        return False
    return mine[0] == others[0] and mine[2:] == others[2:]


def _widths(own: Header, wide: Header) -> Widths:
    return Widths(math.prod(own.shape[1:]), math.prod(wide.shape[1:]))
