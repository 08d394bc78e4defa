"""Digests of whatever decides a result: data, code, folders of models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

STAMP = "trained.json"  # what the bench writes into folders about their making; it changes nothing that they say
_PIECE = 1 << 20  # bytes read at once
_DECIDES = (".safetensors", ".bin", ".json", ".txt", ".model")


def digest_of(parts: Iterable[str | bytes]) -> str:
    state = hashlib.blake2s(digest_size=12)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def folder_digest(folder: Path) -> str:
    """Of everything in a model folder that can change what the model says: `digest_of` its files' names and bytes."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in _DECIDES and path.name != STAMP)
    state = hashlib.blake2s(digest_size=12)
    for path in paths:
        name = path.name.encode()
        state.update(len(name).to_bytes(8, "little") + name + path.stat().st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                state.update(piece)
    return state.hexdigest()
