"""Axes of tensors as products of atoms, and what computation says about which axes are the same.

An axis of 32 units may later be looked at as 4 heads of 8: it is then the product of two atoms. Whatever an operation
does with an axis makes atoms equal (both sides of a sum), splits them (a view) or fixes them (a position counts).
Unifying splits as far as needed, so that in the end every atom is one set of units that move together, or may not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Axis = tuple[int, ...]
"""Atoms from the slowest to the fastest; the empty product is an axis of one unit."""


class Atoms:
    """All atoms of one graph. Atoms that turned out to be equal, or products of others, resolve to those."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._became: dict[int, Axis] = {}
        self._fixed: dict[int, str] = {}

    def new(self, size: int) -> Axis:
        """An axis of so many units that nothing is known of."""
        if size == 1:
            return ()
        self._sizes.append(size)
        return (len(self._sizes) - 1,)

    def size(self, axis: Axis) -> int:
        return math.prod(self._sizes[atom] for atom in self.resolved(axis))

    def resolved(self, axis: Axis) -> Axis:
        return tuple(part for atom in axis for part in self._parts(atom))

    def fixed(self, atom: int) -> str:
        """Why the units of an atom cannot move; empty if they can."""
        return self._fixed.get(atom, "")

    def fix(self, axis: Axis, why: str) -> None:
        for atom in self.resolved(axis):
            self._fixed.setdefault(atom, why)

    def unify(self, one: Axis, other: Axis, why: str) -> Axis:
        """Both axes are the same from now on. Where they do not factor alike, all of their units are fixed."""
        left, right = list(self.resolved(one)), list(self.resolved(other))
        while left and right:
            a, b = left.pop(0), right.pop(0)
            if a == b:
                continue
            big, small = (a, b) if self._sizes[a] >= self._sizes[b] else (b, a)
            if self._sizes[big] == self._sizes[small]:
                self._join(big, small)
            elif self._sizes[big] % self._sizes[small] == 0:
                rest = self._split(big, self._sizes[small])[1:]
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
                here = self._sizes[atom]
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

    def _parts(self, atom: int) -> Axis:
        return self.resolved(self._became[atom]) if atom in self._became else (atom,)

    def _join(self, one: int, other: int) -> None:
        self._became[other] = (one,)
        if other in self._fixed:
            self._fixed.setdefault(one, self._fixed[other])

    def _split(self, atom: int, first: int) -> Axis:
        pieces = (*self.new(first), *self.new(self._sizes[atom] // first))
        for piece in pieces:
            if atom in self._fixed:
                self._fixed[piece] = self._fixed[atom]
        self._became[atom] = pieces
        return pieces
