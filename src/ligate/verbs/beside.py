"""The files beside the weights of a result: digested and written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ligate.engine import digest
from ligate.engine.record import NAME as RECORD
from ligate.io.folder import ALIGNMENT
from ligate.io.ranges import cannot_write

_PIECE = 1 << 20


def file_digests(folder: Path) -> dict[str, str]:
    """Digest of every file but weights, record and hidden ones, by its path below the folder."""
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in _files(folder) if _counts(path, folder)}


def file_digest(path: Path) -> str:
    state = digest.hasher()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            state.update(piece)
    return digest.of_segment(state).hex()


def write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _counts(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    if any(part.startswith(".") for part in parts):
        return False
    is_weights = path.suffix == ".safetensors" and not (len(parts) == 1 and ALIGNMENT.fullmatch(path.name))
    return not is_weights and parts != (RECORD,)
