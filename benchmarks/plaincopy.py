"""The plain way to move the bytes of a merge: read every input once, write one output as large as the first.

    python benchmarks/plaincopy.py OUT FIRST [MORE ...] [--fsync]

Each argument is a folder of .safetensors files. Two threads read ranges into a buffer of their own; the first folder's
ranges are also written, into files of the full size. Prints the seconds as JSON: start-up is not part of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHUNK = 1 << 20  # fits a core's own cache, so that what was read is written from there


class Piece(NamedTuple):
    source: int
    target: int | None  # None: read only
    start: int
    size: int


def pieces(sources: list[tuple[int, int | None, int]]) -> Iterator[Piece]:
    """Every range of every (source, target, size)."""
    for source, target, size in sources:
        for start in range(0, size, CHUNK):
            yield Piece(source, target, start, min(CHUNK, size - start))


def move(work: Iterator[Piece], lock: threading.Lock) -> None:
    """One thread: take the next range until there is none."""
    buffer = memoryview(bytearray(CHUNK))
    while True:
        with lock:
            piece = next(work, None)
        if piece is None:
            return
        view = buffer[: piece.size]
        if os.preadv(piece.source, [view], piece.start) != piece.size:
            raise OSError("a file ended before its size said so")
        if piece.target is not None:
            os.pwrite(piece.target, view, piece.start)


def copy(out: Path, folders: list[Path], *, threads: int, fsync: bool) -> float:
    """Seconds from opening the first file to the last byte written (or on disk)."""
    began = time.perf_counter()
    out.mkdir(parents=True)
    sources: list[tuple[int, int | None, int]] = []
    for number, folder in enumerate(folders):
        for path in sorted(folder.glob("*.safetensors")):
            size = path.stat().st_size
            sources.append((os.open(path, os.O_RDONLY), _preallocated(out / path.name, size, number), size))
    work, lock = pieces(sources), threading.Lock()
    crew = [threading.Thread(target=move, args=(work, lock)) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    for source, target, _ in sources:
        os.close(source)
        if target is not None:
            if fsync:
                os.fsync(target)
            os.close(target)
    return time.perf_counter() - began


def _preallocated(path: Path, size: int, number: int) -> int | None:
    if number:
        return None
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    os.posix_fallocate(target, 0, size)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fsync", action="store_true")
    given = parser.parse_args()
    seconds = copy(given.out, given.folders, threads=given.threads, fsync=given.fsync)
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
