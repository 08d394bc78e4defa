"""Whether what a merge depends on is still as it was when the merge began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError, LigateError, raise_all
from ligate.core.tensors import Source

from .outcome import versions

Stamp = Sequence[Any]
"""Path, size and time of a file."""


def stamps(sources: Mapping[str, Source], plugins: Sequence[str]) -> list[Stamp]:
    """Of every file the numbers depend on."""
    files = (path for source in sources.values() for path in source.files())
    return [_stamp(path) for path in dict.fromkeys((*files, *map(Path, plugins)))]


def refuse_changed(before: Sequence[Stamp]) -> None:
    """InputError for every file that is not as it was. Whoever replays compares digests."""
    hint = "put the old file back, or merge again with `--overwrite`."
    found = [
        InputError("has changed since the merge began", where=stamp[0], hint=hint)
        for stamp in before
        if not _holds(stamp)
    ]
    raise_all(found)


def refuse_other_versions(before: Mapping[str, str]) -> None:
    """Other versions may calculate otherwise, and half a result of each would be nobody's."""
    found: list[LigateError] = []
    for name, version in versions().items():
        then = before.get(name, "of another version")
        if then != version:
            text = f"the merge was begun with {name} {then}, this is {version}"
            found.append(InputError(text, hint="install that version, or merge again with `--overwrite`."))
    raise_all(found)


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def _holds(stamp: Stamp) -> bool:
    try:
        return _stamp(Path(stamp[0])) == list(stamp)
    except OSError:
        return False
