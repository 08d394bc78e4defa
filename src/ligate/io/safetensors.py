"""The safetensors format: a length, a JSON header, then the tensors' bytes without gaps. No torch, no mapping."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ligate.core.errors import InputError, StorageError
from ligate.core.tensors import Header, dtype_names, itemsize

from .documents import parse
from .ranges import read_at

LONGEST_HEADER = 100_000_000  # bytes; the reference library refuses more
_LENGTH = struct.Struct("<Q")
_ALIGNED = 64  # tensors start at a multiple of this in files we write, so that mapped readers stay on cache lines
_MOST_DIMENSIONS = 64
_DTYPES = frozenset(dtype_names())
_AGAIN = "the file is damaged or no safetensors file: download or copy it again."


class Entry(NamedTuple):
    """A tensor in a file; `begin` counts from the start of the file."""

    name: str
    header: Header
    begin: int
    nbytes: int


class FileHeader(NamedTuple):
    entries: tuple[Entry, ...]  # in the order of their bytes
    metadata: Mapping[str, str]


def read_header(fd: int, size: int, path: Path) -> FileHeader:
    """Read and validate the header of an open file of `size` bytes; InputError names the file and the fault."""
    try:
        length = _header_length(fd, size)
        text = bytearray(length)
        read_at(fd, _LENGTH.size, memoryview(text))
        return _parsed(bytes(text), data_begin=_LENGTH.size + length, size=size)
    except InputError as error:
        raise error.inside(file=path) from None
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", where=f"file {path}", hint=_AGAIN) from None


def build_header(headers: Mapping[str, Header], metadata: Mapping[str, str]) -> tuple[bytes, tuple[Entry, ...]]:
    """The first bytes of a file that holds these tensors in this order, and where each of them lies."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset, offsets = 0, []
    for name, header in headers.items():
        if name == "__metadata__":
            raise StorageError("safetensors cannot store a tensor of the name '__metadata__'")
        end = offset + header.nbytes
        table[name] = {"dtype": header.dtype, "shape": list(header.shape), "data_offsets": [offset, end]}
        offsets.append(offset)
        offset = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + _LENGTH.size) % _ALIGNED)
    if len(text) > LONGEST_HEADER:
        raise StorageError(
            f"a header of {len(text):,} bytes is longer than safetensors allows", hint="write smaller shards."
        )
    start = _LENGTH.size + len(text)
    entries = tuple(
        Entry(name, header, start + begin, header.nbytes)
        for (name, header), begin in zip(headers.items(), offsets, strict=True)
    )
    return _LENGTH.pack(len(text)) + text, entries


def _header_length(fd: int, size: int) -> int:
    if size < _LENGTH.size:
        raise InputError(f"the file has {size} bytes, too few for a safetensors header", hint=_AGAIN)
    first = bytearray(_LENGTH.size)
    read_at(fd, 0, memoryview(first))
    (length,) = _LENGTH.unpack(first)
    if length > LONGEST_HEADER:
        raise InputError(f"the header claims to be {length:,} bytes long", hint=_AGAIN)
    if length > size - _LENGTH.size:
        raise InputError(f"the header claims {length:,} bytes, but the file ends after {size:,}", hint=_AGAIN)
    return length


def _parsed(text: bytes, *, data_begin: int, size: int) -> FileHeader:
    table = _table(text)
    metadata = _metadata(table.pop("__metadata__", None))
    entries: list[Entry] = []
    end = 0
    for begin, stop, name, header in sorted(_span(name, value) for name, value in table.items()):
        if begin != end:
            raise _misplaced(name, begin, end, entries)
        entries.append(Entry(name, header, data_begin + begin, stop - begin))
        end = stop
    _require_size(data_begin + end, size)
    return FileHeader(tuple(entries), metadata)


def _table(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise InputError("the header does not start with '{'", hint=_AGAIN)
    try:
        return parse(text, dict)
    except ValueError as error:
        raise InputError(f"the header is not valid JSON: {error}", hint=_AGAIN) from None


def _metadata(value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InputError("`__metadata__` in the header must map text to text", hint=_AGAIN)
    return value


def _span(name: str, value: Any) -> tuple[int, int, str, Header]:
    """First and last byte of one tensor in the data, its name and header, each checked for itself."""
    try:
        dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise _faulty(name, "needs `dtype`, `shape` and two `data_offsets`") from None
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise InputError(
            f"tensor {name!r} has the dtype {_short(dtype)}, which Ligate does not read",
            hint=f"convert it to one of {', '.join(dtype_names())}.",
        )
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_size, shape)):
        raise _faulty(name, f"has the shape {_short(shape)}")
    if not (_is_size(begin) and _is_size(end)) or end < begin:
        raise _faulty(name, f"has the data_offsets {_short([begin, end])}")
    header = Header(dtype, tuple(shape))
    if math.prod(shape) * itemsize(dtype) != end - begin:
        raise _faulty(name, f"is {dtype} {_short(shape)}, which does not fill its {end - begin:,} bytes")
    return begin, end, name, header


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _faulty(name: str, fault: str) -> InputError:
    return InputError(f"tensor {name!r} {fault}", hint=_AGAIN)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _misplaced(name: str, begin: int, end: int, before: list[Entry]) -> InputError:
    neighbour = f"{before[-1].name!r}" if before else "the start of the data"
    if begin < end:
        return _faulty(name, f"overlaps {neighbour} by {end - begin:,} bytes")
    return _faulty(name, f"leaves a gap of {begin - end:,} bytes after {neighbour}")


def _require_size(expected: int, size: int) -> None:
    if size < expected:
        raise InputError(
            f"the file is cut short: it has {size:,} bytes, its header describes {expected:,}",
            hint="download or copy it again.",
        )
    if size > expected:
        raise InputError(f"{size - expected:,} bytes follow the last tensor, which no header describes", hint=_AGAIN)
