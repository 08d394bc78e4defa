"""What is finished, appended while it happens, so that an interrupted merge can be resumed.

First line: what the merge is (the digest of its plan, and whatever the caller needs to know it again).
Then one line per finished segment. A torn or foreign line is ignored: its segment is simply done again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ligate.core.errors import StorageError

NAME = "journal.jsonl"


class Done(NamedTuple):
    """Digest of a finished output segment, and of the input segments it was made from."""

    out: bytes
    operands: tuple[bytes, ...]


class Journal:
    """Append-only; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._lock = threading.Lock()
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(b"\n")  # the last line is torn: the next must not become part of it

    def begin(self, head: Mapping[str, Any]) -> None:
        self._append(dict(head))

    def segment(self, tensor: str, index: int, done: Done) -> None:
        operands = [digest.hex() for digest in done.operands]
        self._append({"tensor": tensor, "segment": index, "out": done.out.hex(), "in": operands})

    def report(self, tensor: str, stats: Mapping[str, Any]) -> None:
        self._append({"tensor": tensor, "stats": stats})

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        with self._lock:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            while data:  # a disk that is nearly full takes a part
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            hint = "make room, or write to another disk."
            raise StorageError(f"cannot be written: {error.strerror}", where=str(self._path), hint=hint) from None


class Claims(NamedTuple):
    """What a journal says was finished; digests are claims until the bytes were hashed again."""

    head: Mapping[str, Any]
    segments: Mapping[tuple[str, int], Done]
    stats: Mapping[str, Mapping[str, Any]]


def read(path: Path) -> Claims | None:
    """The journal's claims; None when there is no journal or its first line is unreadable."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    head = _object(lines[0])
    if head is None:
        return None
    segments: dict[tuple[str, int], Done] = {}
    stats: dict[str, Mapping[str, Any]] = {}
    for line in filter(None, map(_object, lines[1:])):
        match line:
            case {"tensor": str(tensor), "stats": dict(found)}:
                stats[tensor] = found
            case {"tensor": str(tensor), "segment": int(index), "out": str(out), "in": list(operands)}:
                if (done := _done(out, operands)) is not None:
                    segments[tensor, index] = done
            case _:
                continue
    return Claims(head, segments, stats)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _done(out: str, operands: Sequence[str]) -> Done | None:
    try:
        return Done(bytes.fromhex(out), tuple(map(bytes.fromhex, operands)))
    except (TypeError, ValueError):
        return None
