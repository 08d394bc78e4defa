"""The zip archive that `torch.save` writes: where its records lie, so that ranges of them can be read in place."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ligate.core.errors import InputError

from .ranges import read_at

_LOCAL = struct.Struct("<4s22xHH")  # signature, then the lengths of name and extra field
_ENCRYPTED = 1
_LONGEST_PROGRAM = 500_000_000  # bytes of data.pkl; a model with a million tensors has a third of it
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of a file written by torch before 1.6
_AGAIN = "the file is damaged: download or copy it again."
_RESAVE = "where you trust it, open it with `torch.load` and write the state dict with `safetensors.torch.save_file`."


class Record(NamedTuple):
    """Where the bytes of a record lie in the file."""

    begin: int
    nbytes: int


class Archive(NamedTuple):
    program: bytes  # data.pkl
    records: Mapping[str, Record]  # storages by key


def read_archive(fd: int, size: int, path: Path) -> Archive:
    """Find the records of an open file of `size` bytes; InputError says what else the file is."""
    try:
        _require_archive(fd, size)
        infos, end = _central_directory(fd)
        root = _root(infos)
        _refuse_code(infos, root)
        records = {name.removeprefix(root): _record(fd, info) for name, info in infos.items() if name.startswith(root)}
        _require_apart(records, end)
        _require_little_endian(fd, records)
        return Archive(
            _whole(fd, records["data.pkl"], _LONGEST_PROGRAM),
            {name.removeprefix("data/"): record for name, record in records.items() if name.startswith("data/")},
        )
    except InputError as error:
        raise error.inside(file=path) from None
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", where=f"file {path}", hint=_AGAIN) from None


def _require_archive(fd: int, size: int) -> None:
    first = os.pread(fd, 512, 0)
    if first.startswith(b"PK\x03\x04"):
        return
    if first.startswith(_LEGACY):
        raise InputError("it has the format that torch wrote before 1.6, which must be run to be read", hint=_RESAVE)
    if first[257:262] == b"ustar":
        raise InputError("it is a tar archive, as torch wrote before 0.4", hint=_RESAVE)
    if first[:1] == b"\x80":
        raise InputError("it is a bare pickle, which must be run to be read", hint=_RESAVE)
    if first.startswith(b"version https://git-lfs"):
        raise InputError("it is only a pointer of Git LFS", hint="fetch the weights: `git lfs pull`.")
    raise InputError(f"it is no torch checkpoint ({size:,} bytes)", hint=_AGAIN)


def _central_directory(fd: int) -> tuple[dict[str, zipfile.ZipInfo], int]:
    """What the archive lists, by name, and where the list begins: no record can reach beyond it."""
    with os.fdopen(os.dup(fd), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                listed, end = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise InputError(f"its list of records is damaged or missing: {error}", hint=_AGAIN) from None
    infos = {info.filename: info for info in listed}
    if len(infos) != len(listed):
        raise InputError("it lists two records under one name", hint=_AGAIN)
    if any(not 0 <= info.header_offset < end for info in listed):
        raise InputError("it lists a record outside the file", hint=_AGAIN)
    return infos, end


def _root(infos: Iterable[str]) -> str:
    """The folder inside the archive that holds everything, `archive/`."""
    roots = [name.removesuffix("data.pkl") for name in infos if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        found = "no" if not roots else "more than one"
        raise InputError(f"it is a zip archive with {found} `data.pkl`, no torch checkpoint")
    return roots[0]


def _refuse_code(infos: Iterable[str], root: str) -> None:
    if any(name == f"{root}constants.pkl" or name.startswith(f"{root}code/") for name in infos):
        raise InputError(
            "it is a TorchScript program, not a checkpoint",
            hint="save the state dict of the model that it was made from.",
        )


def _record(fd: int, info: zipfile.ZipInfo) -> Record:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        how = "encrypted" if info.flag_bits & _ENCRYPTED else "compressed"
        raise InputError(f"its record {info.filename!r} is {how}; torch stores records as they are", hint=_RESAVE)
    local = bytearray(_LOCAL.size)
    read_at(fd, info.header_offset, memoryview(local))
    signature, name_length, extra_length = _LOCAL.unpack(local)
    name = bytearray(name_length)
    read_at(fd, info.header_offset + _LOCAL.size, memoryview(name))
    if signature != b"PK\x03\x04" or bytes(name) != info.orig_filename.encode() or info.compress_size != info.file_size:
        raise InputError(f"its record {info.filename!r} is not where the list says", hint=_AGAIN)
    return Record(info.header_offset + _LOCAL.size + name_length + extra_length, info.file_size)


def _require_apart(records: Mapping[str, Record], end: int) -> None:
    """No two records share bytes: a small file can otherwise claim to be a large one."""
    before = ""
    for name, record in sorted(records.items(), key=lambda item: item[1]):
        if record.begin + record.nbytes > end:
            raise InputError(f"its record {name!r} reaches beyond the end", hint=_AGAIN)
        if before and record.begin < records[before].begin + records[before].nbytes:
            raise InputError(f"its records {before!r} and {name!r} overlap", hint=_AGAIN)
        before = name if record.nbytes else before


def _require_little_endian(fd: int, records: Mapping[str, Record]) -> None:
    """torch writes the order of bytes beside the tensors since 2.1; before, everything was little-endian."""
    order = _whole(fd, records["byteorder"], 64) if "byteorder" in records else b"little"
    if order != b"little":
        raise InputError(f"its numbers are stored {order.decode(errors='replace')}-endian", hint=_RESAVE)


def _whole(fd: int, record: Record, longest: int) -> bytes:
    if record.nbytes > longest:
        raise InputError(f"its description of the tensors is {record.nbytes:,} bytes long", hint=_AGAIN)
    text = bytearray(record.nbytes)
    read_at(fd, record.begin, memoryview(text))
    return bytes(text)
