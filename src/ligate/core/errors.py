"""Every error that Ligate raises on purpose: what is wrong, where, and what to do next.

LigateError
├── RecipeError      2  a recipe, a parameter or a command line is wrong
├── InputError       3  an input file or checkpoint cannot be used
├── NonFiniteError   4  NaN or infinity in an input or a result
├── StorageError     5  disk full, no permission, output already used
├── VerifyError      6  a digest does not match
└── Problems         n  several of the above, found together
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class LigateError(Exception):
    """Base of all errors Ligate raises on purpose.

    `problem` is one sentence, `where` the place (file:line, tensor, model, method), `hint` what to do next.
    """

    exit_code = 1

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint

    def inside(self, **place: object) -> Self:
        """Say more about where it happened; what is named already stays in front."""
        told = ", ".join(f"{key} {_spoken(value)}" for key, value in place.items() if value)
        self.where = ", ".join(part for part in (self.where, told) if part)
        return self

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{line}\n  -> {self.hint}" if self.hint else line


class RecipeError(LigateError):
    exit_code = 2


class InputError(LigateError):
    exit_code = 3


class NonFiniteError(LigateError):
    exit_code = 4


class StorageError(LigateError):
    exit_code = 5


class VerifyError(LigateError):
    exit_code = 6


class Problems(LigateError):
    """Several problems found in one preflight, reported at once; the first decides the exit code."""

    def __init__(self, found: Sequence[LigateError]) -> None:
        super().__init__(f"{len(found)} problems")
        self.found = tuple(found)
        self.exit_code = found[0].exit_code

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.found)


def raise_all(found: Sequence[LigateError]) -> None:
    """Raise nothing for no problem, the problem itself for one, `Problems` for several."""
    if len(found) == 1:
        raise found[0]
    if found:
        raise Problems(found)


def spoken_index(flat: int, shape: Sequence[int]) -> str:
    """`5 ([1, 2])`: the place of an element in the flattened tensor and in its shape."""
    if len(shape) < 2:
        return str(flat)
    place: list[int] = []
    rest = flat
    for size in reversed(shape):
        rest, at = divmod(rest, max(size, 1))
        place.insert(0, at)
    return f"{flat} ({place})"


def _spoken(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
