"""Collects problems so that a report stays readable: three names and a count instead of three hundred lines."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from ligate.core.errors import LigateError

Tell = Callable[[Sequence[str]], LigateError]
SHOWN = 3


class Findings:
    """Problems in the order in which each kind was first met."""

    def __init__(self) -> None:
        self._tell: dict[Hashable, Tell] = {}
        self._names: dict[Hashable, dict[str, None]] = {}

    def add(self, error: LigateError) -> None:
        """A problem of its own; the same words at the same place are told once."""
        self._tell.setdefault(str(error), lambda _: error)
        self._names.setdefault(str(error), {})

    def repeated(self, kind: Hashable, name: str, tell: Tell) -> None:
        """One more tensor with this kind of problem; `tell` words all of them as one."""
        self._tell.setdefault(kind, tell)
        self._names.setdefault(kind, {})[name] = None

    def errors(self) -> tuple[LigateError, ...]:
        return tuple(tell(tuple(self._names[kind])) for kind, tell in self._tell.items())


def listed(names: Sequence[str]) -> str:
    """`a, b, c and 297 more`."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def counted(names: Sequence[str], noun: str = "tensor") -> str:
    """`1 tensor`, `300 tensors`."""
    return f"{len(names):,} {noun}{'' if len(names) == 1 else 's'}"
