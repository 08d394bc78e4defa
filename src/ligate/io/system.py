"""What reading and writing in ranges, from many threads and with locks, needs of the operating system."""

from __future__ import annotations

import os
from importlib.util import find_spec

from ligate.core.errors import StorageError

_CALLS = ("preadv", "pwrite", "statvfs")


def require_posix() -> None:
    """Refuse a system that lacks them in words, before the first of them is missed in the middle of something.

    Raises:
        StorageError: this is Windows, or another system of its own kind.
    """
    lacking = [name for name in _CALLS if not hasattr(os, name)]
    lacking += ["flock"] if find_spec("fcntl") is None else []
    if lacking:
        problem = f"Ligate needs Linux or macOS: this system lacks {', '.join(lacking)}"
        raise StorageError(problem, hint="on Windows it runs in WSL, the Windows Subsystem for Linux.")
