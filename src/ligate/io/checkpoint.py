"""Open a model that somebody names: a safetensors file, shards with an index, a model folder, a Hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ligate.core.errors import InputError
from ligate.core.suggest import nearest
from ligate.core.tensors import Header, Source, itemsize

from .folder import Weights, find_weights
from .locate import locate
from .ranges import announce, open_input, read_at
from .safetensors import FileHeader, read_header


class _Span(NamedTuple):
    """Where a tensor lies, with everything a read needs."""

    fd: int
    begin: int
    end: int
    itemsize: int
    path: Path


class SafetensorsSource:
    """Tensors of one or several safetensors files, in stored order: file by file, by offset."""

    def __init__(self, paths: Sequence[Path], *, label: str, folder: Path | None, extra: Sequence[Path] = ()) -> None:
        self.label = label
        self.folder = folder
        self._files = (*extra, *paths)
        self._headers: dict[str, Header] = {}
        self._spans: dict[str, _Span] = {}
        self._metadata: dict[str, str] = {}
        self._fds: list[int] = []
        try:
            for path in paths:
                self._add(path)
        except BaseException:
            self.close()
            raise

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        span = self._span(name)
        offset = span.begin + start * span.itemsize
        if start < 0 or offset + len(out) > span.end:
            raise InputError(f"elements from {start} on: {len(out)} bytes are more than there are").inside(
                tensor=name, model=self.label
            )
        try:
            read_at(span.fd, offset, out)
        except (OSError, EOFError) as error:
            raise InputError(
                f"cannot be read: {error}", hint="the file changed or its disk failed: copy it again."
            ).inside(file=span.path, tensor=name, model=self.label) from None

    def prefetch(self, name: str, start: int, stop: int) -> None:
        span = self._span(name)
        announce(span.fd, span.begin + start * span.itemsize, (stop - start) * span.itemsize)

    def place(self, name: str) -> str:
        return str(self._span(name).path)

    def files(self) -> Sequence[Path]:
        return self._files

    def metadata(self) -> Mapping[str, str]:
        return self._metadata

    def close(self) -> None:
        self._spans.clear()
        while self._fds:
            os.close(self._fds.pop())

    def _add(self, path: Path) -> None:
        fd, size = open_input(path)
        self._fds.append(fd)
        found: FileHeader = read_header(fd, size, path)
        for name, header, begin, nbytes in found.entries:
            if name in self._spans:
                other = self._spans[name].path.name
                raise InputError(
                    f"the tensor is also in {other}", hint="remove the file that is not part of this model."
                ).inside(file=path, tensor=name)
            self._headers[name] = header
            self._spans[name] = _Span(fd, begin, begin + nbytes, itemsize(header.dtype), path)
        self._metadata = {**found.metadata, **self._metadata}

    def _span(self, name: str) -> _Span:
        try:
            return self._spans[name]
        except KeyError:
            if not self._fds:
                raise InputError("the source is closed").inside(tensor=name, model=self.label) from None
            raise InputError(
                f"there is no tensor {name!r}", where=f"model {self.label}", hint=nearest(name, self._headers)
            ) from None


def open_source(
    path: str,
    *,
    label: str,
    revision: str | None = None,
    adapters: Sequence[tuple[str, str | None, float]] = (),
    strip_prefix: str = "",
    alias: Mapping[str, str] | None = None,
) -> Source:
    """Open a model by local path or Hub id (`org/name@revision`); a path that looks local never meets the network."""
    return _open(find_weights(locate(path, revision)), label)


def _open(weights: Weights, label: str) -> Source:
    if weights.kind == "pickle":
        from .pickle import open_pickle

        return open_pickle(weights.paths[0], label)
    return SafetensorsSource(weights.paths, label=label, folder=weights.folder, extra=weights.extra)
