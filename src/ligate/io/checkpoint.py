"""Open a model that somebody names: a safetensors file, shards with an index, a model folder, a Hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ligate.core.errors import InputError
from ligate.core.tensors import Header, Source, itemsize

from .documents import read_object
from .folder import Kind, Weights, component_weights, file_weights, folder_weights, no_weights
from .locate import locate
from .missing import unknown_tensor
from .ranges import announce, cannot_read, open_input, read_at
from .safetensors import read_header


class _Span(NamedTuple):
    """First and last byte of a tensor in its file."""

    begin: int
    end: int
    itemsize: int


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
        self._headers = {entry.name: entry.header for entry in found.entries}
        self._spans = {
            name: _Span(begin, begin + nbytes, itemsize(header.dtype)) for name, header, begin, nbytes in found.entries
        }

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        span = self._span(name)
        offset = span.begin + start * span.itemsize
        if start < 0 or offset + len(out) > span.end:
            raise InputError(f"{len(out):,} bytes from element {start:,} on reach outside the tensor").inside(
                file=self._path, tensor=name, model=self.label
            )
        try:
            read_at(self._fd, offset, out)
        except (OSError, EOFError) as error:
            raise InputError(
                f"cannot be read: {error}", hint="the file changed meanwhile or its disk fails: copy it again."
            ).inside(file=self._path, tensor=name, model=self.label) from None

    def prefetch(self, name: str, start: int, stop: int) -> None:
        span = self._span(name)
        announce(self._fd, span.begin + start * span.itemsize, (stop - start) * span.itemsize)

    def place(self, name: str) -> str:
        self._span(name)
        return str(self._path)

    def files(self) -> Sequence[Path]:
        return (self._path,)

    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._spans = -1, {}

    def _span(self, name: str) -> _Span:
        span = self._spans.get(name)
        if span is None:
            raise unknown_tensor(name, self)
        return span


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


def open_source(
    path: str,
    *,
    label: str,
    revision: str | None = None,
    adapters: Sequence[tuple[str, str | None, float]] = (),
    strip_prefix: str = "",
    alias: Mapping[str, str] | None = None,
) -> Source:
    """Open a model by local path or Hub id (`org/name@revision`); a path that looks local never meets the network.

    Of a folder with components (diffusers, sentence-transformers) the tensors are called `component/name`. What is
    quantised is read as the numbers it stands for; adapters are added as they are read, nothing is merged on disk.
    """
    from .quantised import view_quantised
    from .views import aliased, stripped

    stored = open_checkpoint(locate(path, revision), label)
    try:
        source = view_quantised(stored, _config(stored.folder))
        for place, version, scale in adapters:
            from .adapter import view_adapter

            source = view_adapter(source, locate(place, version), scale)
        if strip_prefix:
            source = stripped(source, strip_prefix)
        return aliased(source, alias) if alias else source
    except BaseException:
        stored.close()
        raise


def open_checkpoint(place: Path, label: str) -> Source:
    """The weights of a local file or folder, as they are stored."""
    try:
        if not place.is_dir():
            return _joined(label, None, {"": file_weights(place)})
        root, components = folder_weights(place), component_weights(place)
        if root is None and not components:
            raise no_weights(place)
    except OSError as error:
        raise cannot_read(place, error) from None
    below = {f"{name}/": weights for name, weights in components.items()}
    return _joined(label, place, {"": root, **below} if root else below)


def _config(folder: Path | None) -> Mapping[str, Any]:
    path = folder / "config.json" if folder else None
    return read_object(path) if path and path.exists() else {}


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
