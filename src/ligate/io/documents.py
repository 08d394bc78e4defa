"""Small JSON files that lie beside weights: read with a limit, refused by name when they are broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from ligate.core.errors import InputError

from .ranges import open_file, read_at

LONGEST = 200_000_000  # bytes; the index of a model with a million tensors is shorter
_AGAIN = "download or copy it again."
_SPOKEN = {dict: "an object `{...}`", list: "a list `[...]`"}

T = TypeVar("T", dict[str, Any], list[Any])


def read_bytes(path: Path, longest: int = LONGEST) -> bytes:
    """The whole of a small regular file."""
    with open_file(path) as (fd, size):
        if size > longest:
            raise InputError(f"is {size:,} bytes long; at most {longest:,} are expected here", where=str(path))
        text = bytearray(size)
        try:
            read_at(fd, 0, memoryview(text))
        except (OSError, EOFError) as error:
            raise InputError(f"cannot be read: {error}", where=str(path), hint=_AGAIN) from None
    return bytes(text)


def read_object(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object."""
    return _read(path, dict)


def read_list(path: Path) -> list[Any]:
    """A file that holds one JSON list."""
    return _read(path, list)


def parse(text: bytes, kind: type[T]) -> T:
    """JSON of one kind, no key twice, all of it text that can be written again; ValueError says what is wrong."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, kind):
        raise ValueError(f"{_SPOKEN[kind]} is expected")
    if b"\\u" in text:
        _require_unicode(value)
    return value


def _read(path: Path, kind: type[T]) -> T:
    try:
        return parse(read_bytes(path), kind)
    except ValueError as error:
        raise InputError(f"is no valid JSON file: {error}", where=str(path), hint=_AGAIN) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} stands there twice")
    return table


def _require_unicode(value: Any) -> None:
    """JSON can spell half of a surrogate pair, which is no text that could be shown or written again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it is not valid Unicode") from None
