"""What a search tried, a line of JSON each, written down before the next is thought of: whatever ends the process, no
evaluation is lost but the one under way."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ligate.core.errors import InputError, StorageError
from ligate.core.space import Value


class Trial(NamedTuple):
    """A point, and what it is worth: a number for each thing that was measured, none where it failed."""

    number: int
    point: Mapping[str, Value]
    values: Mapping[str, float]
    failed: str = ""  # why there are no values
    again: int | None = None  # the number of the trial that had the same point: it was not evaluated a second time


class Journal:
    """The trials of one search in a file; without a path nowhere.

    The first line says which search it is; a file of another search is refused, a last line that was cut short is
    forgotten.

    Raises:
        InputError: the file is of another search, or damaged.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path | None, search: Mapping[str, Any]) -> None:
        self._path = path
        self.trials: Sequence[Trial] = ()
        if path is None:
            return
        head = json.loads(json.dumps({"search": search}))
        lines = _whole_lines(path)
        if not lines:
            _append(path, head)
        elif lines[0] != head:
            raise InputError(_difference(lines[0], head), where=str(path), hint="go on with the same, or move it away.")
        self.trials = [_trial(line, number, path) for number, line in enumerate(lines[1:])]

    def add(self, trial: Trial) -> None:
        if self._path is not None:
            told = {key: value for key, value in trial._asdict().items() if value not in ("", None)}
            _append(self._path, told)


def _append(path: Path, told: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from None


def _whole_lines(path: Path) -> list[Any]:
    """The lines of a journal; what stands behind the last end of a line is cut off."""
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    whole = held[: held.rfind(b"\n") + 1]
    if len(whole) < len(held):
        os.truncate(path, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise InputError(f"is damaged: {error}", where=str(path), hint="move it away.") from None


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    """What the search in the file has that this one has not."""
    before = found.get("search") if isinstance(found, dict) else None
    if not isinstance(before, dict):
        return "is no journal of a search"
    now = wanted["search"]
    others = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return f"holds the trials of another search: it differs in {', '.join(others)}"


def _trial(line: Any, number: int, path: Path) -> Trial:
    try:
        trial = Trial(**line)
    except TypeError:
        raise InputError("this line is no trial", where=f"{path}:{number + 2}", hint="move the file away.") from None
    if trial.number != number:
        raise InputError(f"trial {number} is missing", where=f"{path}:{number + 2}", hint="move the file away.")
    return trial
