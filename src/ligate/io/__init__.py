"""Bytes and names of checkpoints: sources to read from, sinks to write to. Knows nothing of merging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .system import require_posix

if TYPE_CHECKING:
    from .opening import open_source as open_source

__all__ = ["open_source"]

require_posix()


def __getattr__(name: str) -> Any:
    if name == "open_source":
        from .opening import open_source

        return open_source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
