"""A finished folder gets its name in one step. What had that name before is replaced whole, never mixed, never lost.

A folder cannot be exchanged for another in one call of the system: the old one stands aside for a moment, and a
process that is killed in that moment leaves it there. `restore` makes good for that.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ligate.core.errors import StorageError

from .folder import looks_like_model
from .ranges import cannot_write


def aside_of(out: Path) -> Path:
    """Where an earlier result stands while the new one takes its name; hidden, beside the output."""
    place = Path(os.path.abspath(out))
    return place.with_name(f".{place.name}.replaced")


def occupied(out: Path, overwrite: bool) -> StorageError | None:
    """What keeps a result from taking this name, which may be free, an empty folder or, with `overwrite`, a model."""
    here = Path.cwd()
    if out.is_symlink():
        return StorageError(f"is a link to {os.readlink(out)}", where=str(out), hint="name the folder itself.")
    if out.exists() and not out.is_dir():
        return StorageError("is a file; the output is a folder", where=str(out), hint="choose another output.")
    if out.resolve() in (here, *here.parents):  # the shell would be left standing in a folder that is gone
        return StorageError("holds the current folder, which would be replaced", where=str(out), hint="choose another.")
    if os.path.lexists(aside_of(out)):  # it may be the only copy, and would be in the way
        hint = f"rename it to {out.name}, or remove it."
        return StorageError(f"what it replaced before still lies in {aside_of(out).name}", where=str(out), hint=hint)
    if not _holds_files(out):
        return None
    if not overwrite:
        hint = "choose another output, or replace it with `--overwrite`."
        return StorageError("already holds files", where=str(out), hint=hint)
    if (out / ".git").exists() or not looks_like_model(out):
        text = "is a repository or holds no model, so it is not replaced"
        return StorageError(text, where=str(out), hint="choose another output.")
    return None


def publish(partial: Path, out: Path, overwrite: bool = False, *, fsync: bool = True) -> None:
    """Give the finished folder its name; with `overwrite` the model that has it is removed afterwards."""
    if reason := occupied(out, overwrite):
        raise reason
    place = Path(os.path.abspath(out))
    old = aside_of(out) if _holds_files(place) else None
    try:
        if fsync:
            _sync_tree(partial)
        _exchange(partial, place, old)
        if fsync:
            _sync(place.parent)
    except OSError as error:
        raise cannot_write(out, error) from None
    if old:
        discard(old)


def restore(out: Path) -> bool:
    """Give back its name to what a killed process set aside; whether there was such a thing."""
    aside = aside_of(out)
    if not aside.is_dir() or os.path.lexists(out):
        return False
    try:
        os.rename(aside, os.path.abspath(out))
    except OSError as error:
        raise cannot_write(out, error) from None
    return True


def discard(old: Path) -> None:
    """Remove what has been replaced, if it is there."""
    try:
        shutil.rmtree(old)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"the new model is in place, but the one before could not be removed: {error.strerror}",
            where=str(old),
            hint="remove it by hand.",
        ) from None


def _exchange(partial: Path, out: Path, old: Path | None) -> None:
    if old is None:
        os.rename(partial, out)
        return
    os.rename(out, old)
    try:
        os.rename(partial, out)
    except BaseException:
        os.rename(old, out)
        raise


def _holds_files(out: Path) -> bool:
    return out.is_dir() and any(out.iterdir())


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
