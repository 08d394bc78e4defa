"""Write a model folder in ranges: headers first, room reserved, then bytes in any order from any thread."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ligate.core.errors import StorageError
from ligate.core.tensors import Header, itemsize

from .folder import INDEX
from .ranges import cannot_write, lock, read_at, reserve, start_writing_back, write_at
from .safetensors import Entry, build_header

_METADATA: Mapping[str, str] = MappingProxyType({"format": "pt"})  # transformers asks for it
_STEMS: Mapping[str, str] = MappingProxyType({"": "model"})
_WRITE_BACK = 32 << 20  # bytes


class Shard(NamedTuple):
    """One file of the output, decided to the byte before anything is written."""

    prefix: str  # of the tensors' names that the file leaves out: its component
    file: str  # below the folder
    head: bytes
    entries: tuple[Entry, ...]

    @property
    def nbytes(self) -> int:
        return len(self.head) + sum(entry.nbytes for entry in self.entries)


class _Span(NamedTuple):
    """Where a tensor lies, with everything a write needs."""

    fd: int
    begin: int
    end: int
    itemsize: int
    path: Path


def lay_out(
    headers: Mapping[str, Header],
    shard_bytes: int,
    metadata: Mapping[str, str] = _METADATA,
    stems: Mapping[str, str] = _STEMS,
) -> tuple[Shard, ...]:
    """Spread tensors over files of at most `shard_bytes` of tensor data, in the given order, never splitting one.

    `stems` names the components of a model and their files: `{"": "model", "unet/": "diffusion_pytorch_model"}`.
    """
    shards: list[Shard] = []
    for prefix, group in _by_component(headers, stems).items():
        parts = _filled(group, shard_bytes)
        for number, part in enumerate(parts, 1):
            series = f"-{number:05}-of-{len(parts):05}" if len(parts) > 1 else ""
            file = f"{prefix}{stems.get(prefix, 'model')}{series}.safetensors"
            shards.append(Shard(prefix, file, *build_header(_wide_first(part), metadata)))
    return tuple(shards)


class FolderSink:
    """The safetensors files of a model folder, preallocated; reopens what an interrupted run of the same plan left.

    While it is open no other sink can open the folder. An `eager` sink has the system move bytes to the disk while
    others are still computed; without it that begins when somebody asks for fsync.
    """

    def __init__(
        self,
        folder: Path,
        headers: Mapping[str, Header],
        *,
        shard_bytes: int = 5_000_000_000,
        metadata: Mapping[str, str] = _METADATA,
        stems: Mapping[str, str] = _STEMS,
        eager: bool = True,
    ) -> None:
        self.folder = folder
        self.shards = lay_out(headers, shard_bytes, metadata or _METADATA, stems)
        self._spans: dict[str, _Span] = {}
        self._fds: list[int] = []
        self._created: list[Path] = []
        self._eager = eager
        self._waiting = 0  # bytes since the disk was last set to work; threads may miscount, which harms nothing
        try:
            self._fds.append(_locked(folder))
            _refuse_strangers(folder, self.shards)
            _require_room(folder, self.shards)
            for shard in self.shards:
                self._open(shard)
        except BaseException:
            self._undo()
            raise

    def write(self, name: str, start: int, data: memoryview) -> None:
        span, offset = self._range(name, start, len(data))
        try:
            write_at(span.fd, offset, data)
        except OSError as error:
            raise cannot_write(span.path, error).inside(tensor=name) from None
        self._waiting += len(data)
        if self._eager and self._waiting > _WRITE_BACK:
            self._waiting = 0
            start_writing_back(span.fd)

    def read_back(self, name: str, start: int, out: memoryview) -> None:
        span, offset = self._range(name, start, len(out))
        try:
            read_at(span.fd, offset, out)
        except (OSError, EOFError) as error:
            raise StorageError(f"cannot be read back: {error}", where=str(span.path)).inside(tensor=name) from None

    def finish(self, fsync: bool = True) -> None:
        """Write the index where a model has several files; with `fsync` wait until the bytes are on the disk."""
        for prefix in dict.fromkeys(shard.prefix for shard in self.shards):
            _write_index(self.folder, [shard for shard in self.shards if shard.prefix == prefix])
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

    def _open(self, shard: Shard) -> None:
        path = self.folder / shard.file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                self._created.append(path)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            self._fds.append(fd)
            _refuse_other_layout(fd, shard, path)
            reserve(fd, shard.nbytes)
            write_at(fd, 0, shard.head)
        except OSError as error:
            raise cannot_write(path, error, shard.nbytes) from None
        for name, header, begin, nbytes in shard.entries:
            self._spans[shard.prefix + name] = _Span(fd, begin, begin + nbytes, itemsize(header.dtype), path)

    def _undo(self) -> None:
        """Leave nothing behind that this sink made before it failed."""
        self.close()
        for path in self._created:
            path.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            return  # it holds something, or never was

    def _range(self, name: str, start: int, nbytes: int) -> tuple[_Span, int]:
        span = self._spans.get(name)
        if span is None:
            raise StorageError("the output has no such tensor, or is closed", where=f"tensor {name}")
        offset = span.begin + start * span.itemsize
        if start < 0 or offset + nbytes > span.end:
            raise StorageError(f"{nbytes:,} bytes from element {start:,} on reach outside it", where=f"tensor {name}")
        return span, offset


def _by_component(headers: Mapping[str, Header], stems: Mapping[str, str]) -> dict[str, dict[str, Header]]:
    """Tensors without their component's prefix, component by component; the root is always there."""
    prefixes = sorted((prefix for prefix in stems if prefix), key=len, reverse=True)
    groups: dict[str, dict[str, Header]] = {}
    for name, header in headers.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        groups.setdefault(prefix, {})[name.removeprefix(prefix)] = header
    return groups or {"": {}}


def _filled(headers: Mapping[str, Header], shard_bytes: int) -> list[dict[str, Header]]:
    shards: list[dict[str, Header]] = [{}]
    room = shard_bytes
    for name, header in headers.items():
        if shards[-1] and header.nbytes > room:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = header
        room -= header.nbytes
    return shards


def _wide_first(headers: Mapping[str, Header]) -> Mapping[str, Header]:
    """Within a file wide dtypes come first, so that every tensor starts at a multiple of its element size."""
    return dict(sorted(headers.items(), key=lambda item: -itemsize(item[1].dtype)))


def _locked(folder: Path) -> int:
    """The folder, made if need be, and ours alone until the descriptor is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise cannot_write(folder, error) from None
    if not lock(fd):
        os.close(fd)
        raise StorageError("another run is writing here", where=str(folder), hint="wait for it, or stop it.")
    return fd


def _refuse_strangers(folder: Path, shards: Sequence[Shard]) -> None:
    expected = {folder / shard.file for shard in shards}
    for path in sorted(folder.rglob("*.safetensors")):
        if path not in expected:
            raise _other_plan(path, folder)


def _require_room(folder: Path, shards: Sequence[Shard]) -> None:
    """Compare with what is free before the first byte, less what an interrupted run has reserved already."""
    there = sum(path.stat().st_blocks * 512 for shard in shards if (path := folder / shard.file).is_file())
    needed = sum(shard.nbytes for shard in shards) - there
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if needed > free and disk.f_blocks:
        raise StorageError(
            f"{needed:,} more bytes are needed, the disk has {free:,} left",
            where=str(folder),
            hint="make room, or write to another disk.",
        )


def _refuse_other_layout(fd: int, shard: Shard, path: Path) -> None:
    """What is stored must be this header, a beginning of it, or nothing yet: a run may die at any moment."""
    size = os.fstat(fd).st_size
    stored = bytearray(min(size, len(shard.head)))
    read_at(fd, 0, memoryview(stored))
    if size > shard.nbytes or not shard.head.startswith(stored.rstrip(b"\0")):
        raise _other_plan(path, path.parent)


def _other_plan(path: Path, folder: Path) -> StorageError:
    return StorageError(
        "was begun for another result", where=str(path), hint=f"remove {folder}, or choose another output."
    )


def _write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Beside several files of one component the table of which tensor is in which of them."""
    if len(shards) < 2:
        return
    total = sum(entry.nbytes for shard in shards for entry in shard.entries)
    table = {entry.name: Path(shard.file).name for shard in shards for entry in shard.entries}
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": table}, indent=2, ensure_ascii=False)
    path = folder / re.sub(r"-00001-of-\d+\.safetensors$", f".safetensors{INDEX}", shards[0].file)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None
