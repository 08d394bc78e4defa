"""Digests of whatever decides a result: data, code, folders of models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

STAMP = "trained.json"  # what the bench writes into folders about their making; it changes nothing that they say
_DECIDES = (".safetensors", ".bin", ".json", ".txt", ".model")


def digest_of(parts: Iterable[str | bytes]) -> str:
    state = hashlib.blake2s(digest_size=12)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def folder_digest(folder: Path) -> str:
    """Of everything in a model folder that can change what the model says."""
    paths = sorted(path for path in folder.glob("*") if path.suffix in _DECIDES and path.name != STAMP)
    return digest_of(part for path in paths for part in (path.name, path.read_bytes()))
