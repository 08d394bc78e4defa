"""From what a user writes to a path on this disk."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from ligate.core.errors import InputError

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./+-]+))?")


def locate(path: str, revision: str | None = None) -> Path:
    """The local file or folder of a model; only what cannot be a local path is looked for on the Hub."""
    place = Path(os.path.expanduser(path))
    hub = _HUB_ID.fullmatch(path)
    if not path or "\0" in path:
        raise InputError(f"{path!r} is no path")
    if os.path.lexists(place):
        if revision:
            raise InputError(f"a local folder has no revision {revision!r}", where=path, hint="leave it out.")
        return place
    if path.startswith((".", "/", "~")) or place.parent.is_dir() or hub is None:
        raise _missing(path, place)
    from .hub import resolve_hub

    return resolve_hub(hub["repo"], revision or hub["revision"])


def _missing(path: str, place: Path) -> InputError:
    if not place.parent.is_dir():
        return InputError(f"there is no folder {str(place.parent)!r}", where=path, hint="check the path.")
    close = difflib.get_close_matches(place.name, sorted(os.listdir(place.parent)), n=1)
    hint = f"did you mean {str(place.parent / close[0])!r}?" if close else "check the path."
    if "/" not in path:
        hint += " A model of the Hub is written `org/name`."
    return InputError("there is no such file or folder", where=path, hint=hint)
