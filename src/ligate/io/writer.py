"""Write a model folder in ranges: headers first, room reserved, bytes in any order from any thread, then published."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ligate.core.errors import LigateError, StorageError
from ligate.core.tensors import Header, itemsize

from .ranges import cannot_write, read_at, reserve, write_at
from .safetensors import Entry, build_header

_METADATA: Mapping[str, str] = {"format": "pt"}


class Shard(NamedTuple):
    """One file of the output, byte for byte decided before anything is written."""

    file: str
    head: bytes
    entries: tuple[Entry, ...]

    @property
    def nbytes(self) -> int:
        return len(self.head) + sum(entry.nbytes for entry in self.entries)


class _Span(NamedTuple):
    fd: int
    begin: int
    end: int
    itemsize: int
    path: Path


def lay_out(headers: Mapping[str, Header], shard_bytes: int, metadata: Mapping[str, str]) -> tuple[Shard, ...]:
    """Spread tensors over files of at most `shard_bytes` of tensor data, in the given order, never splitting one."""
    groups: list[dict[str, Header]] = [{}]
    filled = 0
    for name, header in headers.items():
        if groups[-1] and filled + header.nbytes > shard_bytes:
            groups.append({})
            filled = 0
        groups[-1][name] = header
        filled += header.nbytes
    shards: list[Shard] = []
    for number, group in enumerate(groups, 1):
        file = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        shards.append(Shard(file, *build_header(_wide_first(group), metadata)))
    return tuple(shards)


class FolderSink:
    """The safetensors files of a model folder, preallocated; reopens what an interrupted run of the same plan left."""

    def __init__(
        self,
        folder: Path,
        headers: Mapping[str, Header],
        *,
        shard_bytes: int = 5_000_000_000,
        metadata: Mapping[str, str] = _METADATA,
    ) -> None:
        self.folder = folder
        self.shards = lay_out(headers, shard_bytes, metadata or _METADATA)
        self._spans: dict[str, _Span] = {}
        self._fds: list[int] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_strangers(folder, {shard.file for shard in self.shards})
            for shard in self.shards:
                self._open(shard, headers)
        except OSError as error:
            self.close()
            raise cannot_write(folder, error) from None
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start: int, data: memoryview) -> None:
        span, offset = self._range(name, start, len(data))
        try:
            write_at(span.fd, offset, data)
        except OSError as error:
            raise cannot_write(span.path, error).inside(tensor=name) from None

    def read_back(self, name: str, start: int, out: memoryview) -> None:
        span, offset = self._range(name, start, len(out))
        try:
            read_at(span.fd, offset, out)
        except (OSError, EOFError) as error:
            raise StorageError(f"cannot be read back: {error}", where=str(span.path)).inside(tensor=name) from None

    def finish(self, fsync: bool = True) -> None:
        """Write the index where there are several files; with `fsync` wait until the bytes are on the disk."""
        if len(self.shards) > 1:
            _write_index(self.folder, self.shards)
        if not fsync:
            return
        try:
            for fd in self._fds:
                os.fsync(fd)
        except OSError as error:
            raise cannot_write(self.folder, error) from None

    def close(self) -> None:
        self._spans.clear()
        while self._fds:
            os.close(self._fds.pop())

    def _open(self, shard: Shard, headers: Mapping[str, Header]) -> None:
        path = self.folder / shard.file
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            self._fds.append(fd)
            _refuse_other_layout(fd, shard, path)
            reserve(fd, shard.nbytes)
            write_at(fd, 0, shard.head)
        except OSError as error:
            raise cannot_write(path, error, shard.nbytes) from None
        for name, _, begin, nbytes in shard.entries:
            self._spans[name] = _Span(fd, begin, begin + nbytes, itemsize(headers[name].dtype), path)

    def _range(self, name: str, start: int, nbytes: int) -> tuple[_Span, int]:
        try:
            span = self._spans[name]
        except KeyError:
            raise StorageError("no such tensor in the output, or it is closed", where=f"tensor {name}") from None
        offset = span.begin + start * span.itemsize
        if start < 0 or offset + nbytes > span.end:
            raise StorageError(f"{nbytes} bytes from element {start} on lie outside the tensor", where=f"tensor {name}")
        return span, offset


def publish(partial: Path, out: Path, overwrite: bool = False, *, fsync: bool = True) -> None:
    """Give the finished folder its name in one step; what was there before is replaced whole, never mixed."""
    old = None
    try:
        if out.is_dir() and any(out.iterdir()):
            if not overwrite:
                raise StorageError("already holds files", where=str(out), hint="choose another folder or overwrite it.")
            old = out.with_name(f".{out.name}.old-{secrets.token_hex(4)}")
            os.rename(out, old)
        os.rename(partial, out)
        if fsync:
            _sync_folder(out.parent)
        if old:
            shutil.rmtree(old)
    except OSError as error:
        raise cannot_write(out, error) from None


def _wide_first(group: Mapping[str, Header]) -> Mapping[str, Header]:
    """Within a file wide dtypes come first, so that every tensor starts at a multiple of its element size."""
    return dict(sorted(group.items(), key=lambda item: -itemsize(item[1].dtype)))


def _refuse_strangers(folder: Path, expected: set[str]) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        if path.name not in expected:
            raise _other_plan(path)


def _refuse_other_layout(fd: int, shard: Shard, path: Path) -> None:
    """What is stored must be this header, a beginning of it, or nothing yet: a run may die at any moment."""
    size = os.fstat(fd).st_size
    stored = bytearray(min(size, len(shard.head)))
    read_at(fd, 0, memoryview(stored))
    if size > shard.nbytes or (stored.strip(b"\0") and not shard.head.startswith(stored.rstrip(b"\0"))):
        raise _other_plan(path)


def _other_plan(path: Path) -> LigateError:
    return StorageError(
        "was begun by another plan",
        where=str(path),
        hint=f"remove {path.parent} and start again, or choose another output.",
    )


def _write_index(folder: Path, shards: Sequence[Shard]) -> None:
    total = sum(entry.nbytes for shard in shards for entry in shard.entries)
    table = {entry.name: shard.file for shard in shards for entry in shard.entries}
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": table}, indent=2, ensure_ascii=False)
    path = folder / "model.safetensors.index.json"
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
