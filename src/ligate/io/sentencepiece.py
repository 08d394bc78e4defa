"""The pieces in a SentencePiece model file, read without its library: a protocol buffer of which two fields matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ligate.core.errors import InputError

from .documents import read_bytes

_PIECES = 1  # ModelProto.pieces, repeated
_TEXT = 1  # SentencePiece.piece
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # how a field is written


def read_pieces(path: Path) -> list[str]:
    """Every piece, numbered by its place.

    Raises:
        InputError: the file is no SentencePiece model, or is damaged.
    """
    try:
        pieces = [_text(value) for number, value in _fields(memoryview(read_bytes(path))) if number == _PIECES]
    except (ValueError, IndexError):
        pieces = []
    if not pieces:
        raise InputError("holds no SentencePiece model", where=str(path), hint="download or copy it again.")
    return pieces


def _text(piece: memoryview | int) -> str:
    """The first text of a piece; ValueError where it has none."""
    if isinstance(piece, int):
        raise ValueError("a number in place of a piece")
    value = next(value for number, value in [*_fields(piece), (_TEXT, 0)] if number == _TEXT)
    if isinstance(value, int):
        raise ValueError("a piece without text")
    return bytes(value).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, content) of each field: a number, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + size > len(message):
            raise ValueError("a field goes beyond the end")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")
