"""Axes of tensors as products of atoms, and what computation says about which axes are the same.

An axis of 32 units may later be looked at as 4 heads of 8: it is then the product of two atoms. Whatever an operation
does with an axis makes atoms equal (both sides of a sum), splits them (a view), fixes them (a position counts), or
limits what may happen to their units. Unifying splits as far as needed, so that in the end every atom is one set of
units that move together, or may not move.

Where a product is summed over an axis, one factor undergoes M and the other M^-T: the axis is the other's *dual*. An
atom that turns out to be its own dual can only undergo maps with M = M^-T, rotations and permutations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

Axis = tuple[int, ...]
"""Atoms from the slowest to the fastest; the empty product is an axis of one unit. Twice the atom's number, odd for its
dual."""

Limit = Literal["alike", "odd", "rotary", "norm", "centre"]
"""What is done to the units of an atom, one by one: any function, any odd function; turned in pairs by position; or to
all of them, by their norm or because they are their own dual; and less their mean."""


def dual(axis: Axis) -> Axis:
    return tuple(atom ^ 1 for atom in axis)


class Atoms:
    """All atoms of one graph. Atoms that turned out to be equal, or products of others, resolve to those."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._became: dict[int, Axis] = {}
        self._fixed: dict[int, str] = {}
        self._limits: dict[int, set[Limit]] = {}

    def new(self, size: int) -> Axis:
        """An axis of so many units that nothing is known of."""
        if size == 1:
            return ()
        self._sizes.append(size)
        return (2 * (len(self._sizes) - 1),)

    def size(self, axis: Axis) -> int:
        return math.prod(self._sizes[atom >> 1] for atom in self.resolved(axis))

    def resolved(self, axis: Axis) -> Axis:
        return tuple(part for atom in axis for part in self._parts(atom))

    def fixed(self, atom: int) -> str:
        """Why the units of an atom cannot move; empty if they can."""
        return self._fixed.get(atom >> 1, "")

    def limits(self, atom: int) -> frozenset[Limit]:
        return frozenset(self._limits.get(atom >> 1, ()))

    def fix(self, axis: Axis, why: str) -> None:
        for atom in self.resolved(axis):
            self._fixed.setdefault(atom >> 1, why)

    def limit(self, axis: Axis, to: Limit) -> None:
        for atom in self.resolved(axis):
            self._limits.setdefault(atom >> 1, set()).add(to)

    def unify(self, one: Axis, other: Axis, why: str) -> Axis:
        """Both axes are the same from now on. Where they do not factor alike, all of their units are fixed."""
        left, right = list(self.resolved(one)), list(self.resolved(other))
        while left and right:
            a, b = left.pop(0), right.pop(0)
            if a == b:
                continue
            if a == b ^ 1:
                self.limit((a,), "norm")
                continue
            big, small = (a, b) if self._size(a) >= self._size(b) else (b, a)
            if self._size(big) == self._size(small):
                self._join(big, small)
            elif self._size(big) % self._size(small) == 0:
                rest = self._split(big, self._size(small))[1:]
                self._join(self._parts(big)[0], small)
                (left if big == a else right)[:0] = self.resolved(rest)
            else:
                self.fix((*one, *other), why)
                return one
            # Splitting and joining may have changed what is left over.
            left, right = list(self.resolved(tuple(left))), list(self.resolved(tuple(right)))
        return one

    def split(self, axis: Axis, sizes: Sequence[int]) -> list[Axis] | None:
        """The axis as a product of axes of these sizes; None if its atoms do not factor so."""
        waiting = list(self.resolved(axis))
        found: list[Axis] = []
        for size in sizes:
            part: list[int] = []
            left = size
            while left > 1:
                if not waiting:
                    return None
                atom = waiting.pop(0)
                here = self._size(atom)
                if here > left:
                    if here % left:
                        return None
                    pieces = self._split(atom, left)
                    atom, waiting[:0] = pieces[0], self.resolved(pieces[1:])
                    here = left
                if left % here:
                    return None
                part.append(atom)
                left //= here
            found.append(tuple(part))
        return None if waiting else found

    def _size(self, atom: int) -> int:
        return self._sizes[atom >> 1]

    def _parts(self, atom: int) -> Axis:
        if atom >> 1 not in self._became:
            return (atom,)
        return tuple(part ^ (atom & 1) for part in self.resolved(self._became[atom >> 1]))

    def _join(self, one: int, other: int) -> None:
        """Both are single atoms, of the same size."""
        self._became[other >> 1] = (one ^ (other & 1),)
        if other >> 1 in self._fixed:
            self._fixed.setdefault(one >> 1, self._fixed[other >> 1])
        self._limits.setdefault(one >> 1, set()).update(self.limits(other))

    def _split(self, atom: int, first: int) -> Axis:
        """The atom as a product, whose first factor has so many units."""
        pieces = (*self.new(first), *self.new(self._size(atom) // first))
        for piece in pieces:
            self._inherit(piece, atom)
        self._became[atom >> 1] = pieces
        return self._parts(atom)

    def _inherit(self, piece: int, atom: int) -> None:
        if atom >> 1 in self._fixed:
            self._fixed[piece >> 1] = self._fixed[atom >> 1]
        self._limits[piece >> 1] = set(self.limits(atom))
        if "rotary" in self.limits(atom):
            self._fixed.setdefault(piece >> 1, "turned in pairs, and then looked at in parts")


def numbers(axis: Axis) -> Iterator[int]:
    """The atoms themselves, whichever side."""
    return (atom >> 1 for atom in axis)
