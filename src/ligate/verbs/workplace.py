"""Where an output grows before it gets its name: `OUT.partial`, a sibling, locked while somebody works in it.

OUT.partial/lock           held while a process works here
OUT.partial/merge.json     what is being merged, so that `resume` can go on: recipe, paths, inputs' sizes and times
OUT.partial/*.jsonl        the journal of each step
OUT.partial/steps/NAME     finished results of earlier steps
OUT.partial/alignments     alignments that were found, so that `resume` goes on with the same
OUT.partial/model          the output itself; renamed to OUT at the very end
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, StorageError
from ligate.io.publish import aside_of, discard, restore
from ligate.io.ranges import cannot_write, lock

START = "merge.json"
LOG = "log.json"


class Workplace:
    """Paths of one unfinished output."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = beside(out, ".partial")
        self.model = self.folder / "model"
        self.alignments = self.folder.absolute() / "alignments"
        self.log = self.folder / LOG

    def journal(self, number: int) -> Path:
        return self.folder / f"step-{number}.jsonl"

    def step(self, name: str) -> Path:
        return self.folder / "steps" / name

    def exists(self) -> bool:
        return self.folder.is_dir()

    def has_progress(self) -> bool:
        """Whether there is anything to resume: a finished step, or a journal with more than its first line."""
        if any((self.folder / "steps").glob("*/ligate.json")):
            return True
        return any(journal.read_bytes().count(b"\n") > 1 for journal in self.folder.glob("*.jsonl"))

    def is_named(self) -> bool:
        """Whether the output has its name already: the process ended before it had cleared up."""
        left = {path.name for path in self.folder.iterdir()}
        return self.out.exists() and "model" not in left and (LOG in left or left <= {"lock"})

    def nbytes(self) -> int:
        """Room on the disk that is already taken here."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())

    def write_start(self, start: Mapping[str, Any]) -> None:
        """In one piece or not at all: without it the folder cannot be resumed."""
        write_text(self.folder / START, json.dumps(start, indent=1) + "\n")

    def read_start(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / START).read_text("utf-8"))
        except FileNotFoundError:
            hint = f"remove {self.folder} and merge again."
            raise InputError(
                "nothing was begun here that could be resumed", where=str(self.folder), hint=hint
            ) from None
        except (OSError, ValueError) as error:
            hint = f"remove {self.folder} and merge again."
            raise InputError(f"{START} cannot be read: {error}", where=str(self.folder), hint=hint) from None

    def remove(self) -> None:
        """The log and the lock at last: whoever is killed in between leaves what `is_named` still knows."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in {"lock", LOG}:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def log_of(out: Path) -> Path:
    """The log beside an output: what must not be inside, because it differs from run to run."""
    return beside(out, ".log.json")


def put_back(out: Path) -> str:
    """Undo a replacement in the middle of which a process was killed; a sentence about it, or nothing.

    Until then the only copy of what stood at OUT lies hidden beside it.
    """
    place = Workplace(out)
    if not aside_of(out).exists() or os.path.lexists(out):
        return ""
    try:
        with _locked(place) if place.exists() else nullcontext():
            done = restore(out)
    except StorageError:
        return ""  # somebody is replacing it at this moment, or it cannot be: whoever needs it will say so
    return f"{out} is back: it was to be replaced when the merge was killed" if done else ""


@contextmanager
def begun(out: Path, start: Mapping[str, Any], *, overwrite: bool) -> Generator[Workplace]:
    """A new workplace, locked. What an interrupted merge left is only thrown away with `overwrite`."""
    place = Workplace(out)
    if place.exists():
        _clear(place, overwrite)
    try:
        place.folder.mkdir(parents=True)
    except FileExistsError:
        raise _busy(place) if place.exists() else _foreign(place.folder) from None
    except OSError as error:
        raise cannot_write(place.folder, error) from None
    with _locked(place):
        place.write_start(start)
        yield place


@contextmanager
def reopened(out: Path) -> Generator[Workplace]:
    """The workplace that an interrupted merge left, locked."""
    place = Workplace(out)
    if not place.exists():
        done = (out / "ligate.json").exists()
        hint = (
            f"{out} is finished; `ligate verify {out}` checks it." if done else "give the OUT of an interrupted merge."
        )
        raise StorageError("there is no unfinished merge", where=str(place.folder), hint=hint)
    with _locked(place):
        yield place


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old text or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, "utf-8")
        os.replace(fresh, path)
    except OSError as error:
        raise cannot_write(path, error) from None


def beside(out: Path, suffix: str) -> Path:
    """A sibling; `.` and `..` have names too."""
    whole = Path(os.path.abspath(out))
    return whole.with_name(whole.name + suffix)


def _clear(place: Workplace, overwrite: bool) -> None:
    inside = {path.name for path in place.folder.iterdir()}
    if inside and not inside & {START, "lock"}:
        raise _foreign(place.folder)
    with _locked(place):
        if not overwrite:
            hint = f"`ligate resume {place.out}` goes on with it; `--overwrite` throws it away and starts again."
            raise StorageError("an interrupted merge lies here", where=str(place.folder), hint=hint)
        if place.is_named():
            discard(aside_of(place.out))
        place.remove()


def _foreign(path: Path) -> StorageError:
    return StorageError("is in the way and was not made by Ligate", where=str(path), hint="move it away.")


@contextmanager
def _locked(place: Workplace) -> Generator[None]:
    """Hold the lock; the system lets go of it when the process ends, however it ends."""
    try:
        fd = os.open(place.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(place.folder, error) from None
    try:
        if not lock(fd):
            raise _busy(place)
        yield
    finally:
        os.close(fd)


def _busy(place: Workplace) -> StorageError:
    hint = "wait for it, or choose another output."
    return StorageError("another process is merging into this output", where=str(place.folder), hint=hint)
