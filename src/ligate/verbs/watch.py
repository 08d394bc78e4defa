"""Who looks on while a verb works: the command line draws a bar, a program may count, by default nobody."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    def note(self, text: str) -> None: ...  # something the user should know; no error

    def begin(self, title: str, total: int) -> None: ...  # about so many bytes will be read and written

    def advance(self, nbytes: int) -> None: ...  # one call at a time, many of them

    def begin_steps(self, title: str, total: int) -> None: ...  # as `begin`, for work that goes by steps

    def step(self, done: int, told: str) -> None: ...  # so many steps are done, and what they brought

    def end(self) -> None: ...


class Nobody:
    """Looks away."""

    def note(self, text: str) -> None: ...

    def begin(self, title: str, total: int) -> None: ...

    def advance(self, nbytes: int) -> None: ...

    def begin_steps(self, title: str, total: int) -> None: ...

    def step(self, done: int, told: str) -> None: ...

    def end(self) -> None: ...
