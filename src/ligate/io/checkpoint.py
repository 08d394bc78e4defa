"""Checkpoints as they are stored: a safetensors file, shards with an index, a model folder with its components."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ligate.core.errors import InputError
from ligate.core.tensors import Header, Source, itemsize

from .folder import Kind, Weights, file_weights, model_weights, no_weights
from .missing import unknown_tensor
from .ranges import announce, cannot_read, open_input, read_at
from .safetensors import Entry, read_header


class SafetensorsFile:
    """The tensors of one safetensors file, read by offset from any number of threads."""

    folder: Path | None = None

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        self._path = path
        self._fd, size = open_input(path)
        try:
            found = read_header(self._fd, size, path)
        except BaseException:
            os.close(self._fd)
            raise
        self._metadata = found.metadata
        self._entries = {entry.name: entry for entry in found.entries}
        self._headers = {entry.name: entry.header for entry in found.entries}

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        entry = self._entry(name)
        skipped = start * itemsize(entry.header.dtype)
        if start < 0 or skipped + len(out) > entry.nbytes:
            raise InputError(f"{len(out):,} bytes from element {start:,} on reach outside the tensor").inside(
                file=self._path, tensor=name, model=self.label
            )
        try:
            read_at(self._fd, entry.begin + skipped, out)
        except (OSError, EOFError) as error:
            raise InputError(
                f"cannot be read: {error}", hint="the file changed meanwhile or its disk fails: copy it again."
            ).inside(file=self._path, tensor=name, model=self.label) from None

    def prefetch(self, name: str, start: int, stop: int) -> None:
        entry = self._entry(name)
        size = itemsize(entry.header.dtype)
        announce(self._fd, entry.begin + start * size, (stop - start) * size)

    def place(self, name: str) -> str:
        self._entry(name)
        return str(self._path)

    def files(self) -> Sequence[Path]:
        return (self._path,)

    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._entries = -1, {}

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise unknown_tensor(name, self)
        return entry


class Checkpoint:
    """Several files as one source, in their order; a tensor that two of them hold is refused."""

    def __init__(self, label: str, folder: Path | None, told_by: Sequence[Path] = ()) -> None:
        self.label = label
        self.folder = folder
        self._told_by = tuple(told_by)
        self._parts: list[Source] = []
        self._where: dict[str, tuple[Source, str]] = {}
        self._headers: dict[str, Header] = {}

    def add(self, part: Source, prefix: str = "") -> None:
        """Take over a source; its tensors are called `prefix` + name here."""
        self._parts.append(part)
        for name, header in part.headers().items():
            known = self._where.setdefault(prefix + name, (part, name))
            if known[0] is not part:
                raise InputError(
                    f"the tensor is also in {known[0].place(known[1])}",
                    hint="remove the file that is not part of this model.",
                ).inside(file=part.place(name), tensor=name)
            self._headers[prefix + name] = header

    def require(self, promised: Mapping[str, Path], index: Path) -> None:
        """Refuse an index that names a tensor which its file does not hold."""
        for name, path in promised.items():
            if name not in self._where or self.place(name) != str(path):
                held = f"; it is in {self.place(name)}" if name in self._where else ""
                raise InputError(
                    f"says that {path.name} holds {name!r}, which it does not{held}",
                    where=str(index),
                    hint="download the model again: its files do not belong together.",
                )

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        part, inner = self._part(name)
        part.read_into(inner, start, out)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        part, inner = self._part(name)
        part.prefetch(inner, start, stop)

    def place(self, name: str) -> str:
        part, inner = self._part(name)
        return part.place(inner)

    def files(self) -> Sequence[Path]:
        return (*self._told_by, *(path for part in self._parts for path in part.files()))

    def metadata(self) -> Mapping[str, str]:
        """Of all files together; where they differ the first speaks."""
        return {key: text for part in reversed(self._parts) for key, text in part.metadata().items()}

    def close(self) -> None:
        self._where = {}
        while self._parts:
            self._parts.pop().close()

    def _part(self, name: str) -> tuple[Source, str]:
        found = self._where.get(name)
        if found is None:
            raise unknown_tensor(name, self)
        return found


def open_checkpoint(place: Path, label: str) -> Source:
    """The weights of a local file or folder, as they are stored."""
    try:
        if not place.is_dir():
            return _joined(label, None, {"": file_weights(place)})
        found = model_weights(place)
        if not found:
            raise no_weights(place)
    except OSError as error:
        raise cannot_read(place, error) from None
    return _joined(label, place, found)


def _joined(label: str, folder: Path | None, parts: Mapping[str, Weights]) -> Source:
    source = Checkpoint(label, folder, [weights.told_by for weights in parts.values() if weights.told_by])
    try:
        for prefix, weights in parts.items():
            for path in weights.paths:
                source.add(_opened(path, weights.kind, label), prefix)
            if weights.told_by:
                source.require({prefix + name: path for name, path in weights.promised.items()}, weights.told_by)
    except BaseException:
        source.close()
        raise
    return source


def _opened(path: Path, kind: Kind, label: str) -> Source:
    if kind == "safetensors":
        return SafetensorsFile(path, label)
    from .pickle import open_pickle

    return open_pickle(path, label)
