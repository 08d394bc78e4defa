"""Run a command and tell what it took. Standard library only: see `run`."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class BenchmarkError(Exception):
    """A measured command failed; what it said is in the message."""


@dataclass(frozen=True)
class Contender:
    """Something to measure: a command that writes `out` (removed after every run)."""

    name: str
    command: Sequence[str]
    out: Path | None = None
    minus: str | None = None  # contender whose median is start-up, not work
    tells_seconds: bool = False  # the command prints its own seconds as JSON
    cold: Sequence[Path] = ()  # folders that are to be read from disk, not from memory


@dataclass
class Row:
    """What one contender took in each run."""

    name: str
    wall: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    startup: float = 0.0

    @property
    def seconds(self) -> float:
        """Median seconds of work."""
        return max(statistics.median(self.told or self.wall) - self.startup, 0.0)

    @property
    def peak(self) -> int:
        return max(self.peak_bytes)

    def as_data(self) -> dict[str, object]:
        return {
            "name": self.name,
            "seconds": self.seconds,
            "startup": self.startup,
            "runs": self.told or self.wall,
            "wall": statistics.median(self.wall),
            "peak_bytes": self.peak,
        }


def alternate(contenders: Sequence[Contender], repeat: int) -> dict[str, Row]:
    """Every contender once, then all again: a slow minute of the machine hits all of them alike."""
    rows = {one.name: Row(one.name) for one in contenders}
    for turn in range(1, repeat + 1):
        for one in contenders:
            told = run(one)
            row = rows[one.name]
            row.wall.append(told["wall"])
            row.peak_bytes.append(int(told["peak_bytes"]))
            if one.tells_seconds:
                row.told.append(told["seconds"])
            sys.stderr.write(f"  {turn}/{repeat}  {told['wall']:7.2f} s  {one.name}\n")
    for one in contenders:
        if one.minus:
            rows[one.name].startup = statistics.median(rows[one.minus].wall)
    return rows


def run(one: Contender) -> Mapping[str, float]:
    """Wall time and peak resident memory of one run.

    The peak is what the kernel noted for the process (its VmHWM). Linux hands it down from the process that forked,
    so this one has to stay small: nothing here imports torch or numpy.
    """
    _remove(one.out)
    os.sync()
    drop_from_memory(one.cold)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        child = subprocess.Popen(one.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            said = err.read().decode(errors="replace")[-2000:]
            raise BenchmarkError(f"{one.name}: exit code {child.returncode}\n{' '.join(one.command)}\n{said}")
        told = json.loads(out.read())["seconds"] if one.tells_seconds else wall
    _remove(one.out)
    return {"wall": wall, "seconds": told, "peak_bytes": usage.ru_maxrss * 1024}


def _remove(out: Path | None) -> None:
    """The output, what a failed run left of it, and Ligate's log beside it."""
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(out.with_name(f"{out.name}.partial"), ignore_errors=True)
        out.with_name(f"{out.name}.log.json").unlink(missing_ok=True)


def drop_from_memory(folders: Iterable[Path]) -> None:
    """Ask the kernel to forget the cached pages of every file in these folders."""
    for folder in folders:
        for path in folder.iterdir():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def warm(folders: Iterable[Path]) -> None:
    """Read every file once, so that the first run meets what the later ones meet."""
    buffer = bytearray(1 << 22)
    for folder in folders:
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
