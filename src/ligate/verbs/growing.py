"""A result that is made in one go: it grows in `OUT.partial/model`, gets its name when it is whole, or vanishes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ligate.core.errors import StorageError, raise_all
from ligate.core.tensors import Source
from ligate.io.publish import publish
from ligate.io.ranges import cannot_write, lock

from .preflight import guard_output
from .workplace import START, Workplace

_OURS = frozenset({"lock", "model"})


@contextmanager
def growing(out: Path, sources: Mapping[str, Source], needed: int, *, overwrite: bool = False) -> Generator[Path]:
    """A new folder that becomes `out` when the block ends well; whatever else happens, it is removed.

    Raises:
        StorageError, Problems: the place is taken, cannot be written, is an input, or lacks the needed bytes.
    """
    raise_all(guard_output(out, sources, needed, overwrite=overwrite))
    place = Workplace(out)
    with _held(place.folder, out):
        try:
            place.model.mkdir()
            yield place.model
            publish(place.model, out, overwrite)
        finally:
            shutil.rmtree(place.folder, ignore_errors=True)


@contextmanager
def _held(folder: Path, out: Path) -> Generator[None]:
    """The workplace, locked and empty. What a killed process left of such a result is of no use to anybody."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_strangers(folder, out)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        if not lock(fd):
            hint = "wait for it, or choose another output."
            raise StorageError("another process is writing this output", where=str(folder), hint=hint)
        shutil.rmtree(folder / "model", ignore_errors=True)
        yield
    finally:
        os.close(fd)


def _refuse_strangers(folder: Path, out: Path) -> None:
    found = {path.name for path in folder.iterdir()}
    if START in found:
        hint = f"`ligate resume {out}` goes on with it; or remove {folder}."
        raise StorageError("an interrupted merge lies here", where=str(folder), hint=hint)
    if found - _OURS:
        raise StorageError("is in the way and was not made by Ligate", where=str(folder), hint="move it away.")
