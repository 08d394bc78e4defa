"""The progress bar: bytes, speed and time left, on standard error, and only where somebody sits in front of it."""

from __future__ import annotations

import sys
import time

from ligate.verbs.watch import Nobody, Watch

from .show import note

_INTERVAL = 0.1  # seconds between two looks at the bar; blocks are finished thousands of times a second


class Notes(Nobody):
    """Tells notes, draws nothing."""

    def note(self, text: str) -> None:
        note(f"note: {text}")


class Bar(Notes):
    """A bar by rich. More bytes than expected (a look taken again) never push it beyond the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=None, visible=False)
        self._total, self._done, self._shown = 0, 0, 0.0

    def begin(self, title: str, total: int) -> None:
        self._total, self._done, self._shown = total, 0, 0.0
        self._progress.update(self._task, description=title, total=total, completed=0, visible=True)
        self._progress.start()

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
