"""The progress bar: bytes, speed and time left, on standard error, and only where somebody sits in front of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ligate.verbs.watch import Nobody, Watch

from .show import note

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

_INTERVAL = 0.1  # seconds between two looks at the bar; blocks are finished thousands of times a second


class Notes(Nobody):
    """Tells notes and what steps brought, draws nothing."""

    def note(self, text: str) -> None:
        note(f"note: {text}")

    def step(self, done: int, told: str) -> None:
        note(f"step {done:,}: {told}")


class Bar(Notes):
    """A bar by rich. More bytes than expected (a look taken again) never push it beyond the end."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TransferSpeedColumn

        self._title = TextColumn("{task.description}")
        self._bytes = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._steps = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
        self._begin("", None, self._bytes)

    def _begin(self, title: str, total: int | None, columns: Sequence[ProgressColumn]) -> None:
        from rich.console import Console
        from rich.progress import Progress, TimeRemainingColumn

        self._progress = Progress(
            self._title,
            *columns,
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task(title, total=total, visible=total is not None, told="")
        self._total, self._done, self._shown = total or 0, 0, 0.0

    def begin(self, title: str, total: int) -> None:
        self._begin(title, total, self._bytes)
        self._progress.start()

    def begin_steps(self, title: str, total: int) -> None:
        self._begin(title, total, self._steps)
        self._progress.start()

    def step(self, done: int, told: str) -> None:
        self._progress.update(self._task, completed=done, told=told, refresh=True)

    def advance(self, nbytes: int) -> None:
        self._done += nbytes
        now = time.monotonic()
        if now - self._shown >= _INTERVAL:
            self._shown = now
            self._progress.update(self._task, completed=min(self._done, self._total), refresh=True)

    def end(self) -> None:
        self._progress.stop()


def watcher(*, quiet: bool, json: bool) -> Watch:
    """Nobody for `--quiet`; a bar for people, notes alone for machines and files."""
    if quiet:
        return Nobody()
    return Bar() if sys.stderr.isatty() and not json else Notes()
