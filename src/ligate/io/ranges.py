"""Bytes at a place in a file: read, write, reserve, announce. Nothing here knows what the bytes mean."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ligate.core.errors import InputError, LigateError, StorageError

_NO_RESERVE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def open_input(path: Path) -> tuple[int, int]:
    """Descriptor and size of a regular file; a pipe, folder or device is refused before it can block."""
    try:
        _require_regular(os.stat(path).st_mode, path)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise cannot_read(path, error) from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):  # exchanged between the two looks
        os.close(fd)
        raise InputError("changed while it was opened", where=str(path))
    return fd, status.st_size


@contextmanager
def open_file(path: Path) -> Generator[tuple[int, int], None, None]:
    """`open_input` for a while."""
    fd, size = open_input(path)
    try:
        yield fd, size
    finally:
        os.close(fd)


def read_at(fd: int, offset: int, out: memoryview) -> None:
    """Fill `out` (bytes) from `offset` on; EOFError when the file ends before. Safe from any thread."""
    done = os.preadv(fd, (out,), offset)
    while done < len(out):
        got = os.preadv(fd, (out[done:],), offset + done)
        if not got:
            raise EOFError(f"file ends at byte {offset + done}")
        done += got


def write_at(fd: int, offset: int, data: memoryview | bytes) -> None:
    """Write all of `data` (bytes) from `offset` on. Safe from any thread."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def lock(fd: int) -> bool:
    """Whether the file is ours alone until its descriptor is closed. A file system without locks cannot say no."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def announce(fd: int, offset: int, size: int) -> None:
    """Ask the system to read these bytes ahead; a hint, so a system that cannot is no error."""
    if size > 0 and hasattr(os, "posix_fadvise"):  # of size 0 would mean the rest of the file
        try:
            os.posix_fadvise(fd, offset, size, os.POSIX_FADV_WILLNEED)
        except OSError:
            return


def start_writing_back(fd: int) -> None:
    """Let the system begin to move what was written to the disk, so that a later fsync has little left to wait for."""
    call = _sync_file_range()
    if call is not None:
        call(fd, 0, 0, 2)  # from the start to the end of the file; 2 is SYNC_FILE_RANGE_WRITE: begin, do not wait


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Linux has the call, Python does not offer it."""
    if sys.platform != "linux":
        return None
    import ctypes

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


def reserve(fd: int, size: int) -> None:
    """Give the file its final size, with room on the disk where the file system can promise it."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _NO_RESERVE:
                raise
    if os.fstat(fd).st_size < size:
        os.ftruncate(fd, size)


def cannot_read(path: Path, error: OSError) -> InputError:
    """The operating system's complaint about an input, in our words."""
    if isinstance(error, FileNotFoundError):
        return InputError("there is no such file", where=str(path))
    if error.errno == errno.EMFILE:
        return InputError("too many files are open", where=str(path), hint="raise the limit: `ulimit -n 4096`.")
    if error.errno == errno.ELOOP:
        return InputError("this link leads back to itself", where=str(path))
    return InputError(f"cannot be read: {error.strerror or error}", where=str(path))


def cannot_write(path: Path, error: OSError, needed: int = 0) -> LigateError:
    """The operating system's complaint about an output, in our words."""
    if error.errno in _FULL:
        room = f"; {needed:,} bytes are needed" if needed else ""
        return StorageError(f"the disk is full{room}", where=str(path), hint="make room, or write to another disk.")
    if error.errno in _DENIED:
        return StorageError(f"cannot be written: {error.strerror}", where=str(path), hint="choose another output.")
    return StorageError(f"cannot be written: {error.strerror or error}", where=str(path))


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISREG(mode):
        return
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "no regular file"
    raise InputError(f"this is {kind}; a file is expected here", where=str(path))
