"""Checkpoints written by `torch.save` (.bin, .pt, .pth), read in ranges; nothing in them is run, nothing loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ligate.core.errors import InputError
from ligate.core.tensors import Header, itemsize

from .missing import unknown_tensor
from .pickle_program import follow
from .pickle_words import StoredTensor
from .ranges import announce, open_input, read_at
from .state_dict import tensors_of
from .strided import gather, is_contiguous, reach
from .torch_archive import Record, read_archive

_MOST_DIMENSIONS = 32
_AGAIN = "the file is damaged: download or copy it again."


class _Place(NamedTuple):
    """Where a tensor's numbers lie in the file."""

    begin: int  # byte of its first element
    strides: tuple[int, ...]
    in_order: bool


class PickleSource:
    """The tensors of one file that `torch.save` wrote, in stored order; tied ones under each of their names."""

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        self.folder: Path | None = None
        self._path = path
        self._fd: int | None = None
        self._headers: dict[str, Header] = {}
        self._places: dict[str, _Place] = {}
        self._fd, size = open_input(path)
        try:
            self._read_names(self._fd, size)
        except BaseException:
            self.close()
            raise

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        fd, place = self._place(name)
        header = self._headers[name]
        size = itemsize(header.dtype)
        if start < 0 or start * size + len(out) > header.nbytes:
            raise InputError(f"{len(out):,} bytes from element {start:,} on reach outside the tensor").inside(
                tensor=name, model=self.label
            )
        try:
            if place.in_order:
                read_at(fd, place.begin + start * size, out)
            else:
                gather(fd, place.begin, header.shape, place.strides, start, np.frombuffer(out, f"u{size}"))
        except (OSError, EOFError) as error:
            raise InputError(
                f"cannot be read: {error}", hint="the file changed or its disk failed: copy it again."
            ).inside(file=self._path, tensor=name, model=self.label) from None

    def prefetch(self, name: str, start: int, stop: int) -> None:
        fd, place = self._place(name)
        size = itemsize(self._headers[name].dtype)
        if place.in_order:
            announce(fd, place.begin + start * size, (stop - start) * size)

    def place(self, name: str) -> str:
        return str(self._path)

    def files(self) -> Sequence[Path]:
        return (self._path,)

    def metadata(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _read_names(self, fd: int, size: int) -> None:
        archive = read_archive(fd, size, self._path)
        try:
            for name, tensor in tensors_of(follow(archive.program)).items():
                begin = _begin(tensor, archive.records, name)
                self._places[name] = _Place(begin, tensor.strides, is_contiguous(tensor.shape, tensor.strides))
                self._headers[name] = Header(tensor.dtype, tensor.shape)
        except InputError as error:
            raise error.inside(file=self._path) from None

    def _place(self, name: str) -> tuple[int, _Place]:
        if self._fd is None or name not in self._places:
            raise unknown_tensor(name, self)
        return self._fd, self._places[name]


def open_pickle(path: Path, label: str) -> PickleSource:
    """A .bin, .pt or .pth file; several of them as shards are joined by whoever knows that they belong together."""
    return PickleSource(path, label)


def _begin(tensor: StoredTensor, records: Mapping[str, Record], name: str) -> int:
    """The byte at which the tensor's first element lies, when all of its elements lie in its storage."""
    storage, record = tensor.storage, records.get(tensor.storage.key)
    if record is None:
        raise InputError(f"tensor {name!r} has no record of numbers in the file", hint=_AGAIN)
    stored = storage.numel * itemsize(storage.dtype)
    if stored != record.nbytes:
        raise InputError(
            f"tensor {name!r} has a storage of {stored:,} bytes; its record has {record.nbytes:,}", hint=_AGAIN
        )
    if len(tensor.shape) > _MOST_DIMENSIONS or math.prod(tensor.shape) * itemsize(tensor.dtype) >= 1 << 63:
        raise InputError(f"tensor {name!r} has an absurd shape", hint=_AGAIN)
    size = itemsize(tensor.dtype)
    if (tensor.offset + reach(tensor.shape, tensor.strides)) * size > stored:
        raise InputError(f"tensor {name!r} reaches beyond its storage of {stored:,} bytes", hint=_AGAIN)
    return record.begin + tensor.offset * size
