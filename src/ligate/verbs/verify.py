"""Is a result still what its record says? Every tensor and every file is read and digested again; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ligate.core.errors import InputError, VerifyError
from ligate.core.tensors import Header, Source, itemsize
from ligate.engine import digest
from ligate.engine.memory import thread_count
from ligate.engine.record import NAME, Mismatch, Record, check
from ligate.io import open_source

from .beside import file_digests
from .outcome import read_record
from .watch import Nobody, Watch
from .workplace import put_back

_PIECE = 1 << 20  # bytes read together


@dataclass(frozen=True)
class Verified:
    """A result that is as recorded."""

    out: str
    digest: str | None
    tensors: int
    files: int
    hashed: bool  # False: merged without hashing, so only names, shapes and files could be checked


def verify(out: str | PathLike[str], *, threads: int | None = None, watch: Watch | None = None) -> Verified:
    """Compare an output folder with its ligate.json.

    Raises:
        VerifyError: it differs; the error names every tensor and file that does.
        InputError: there is no record.
    """
    folder = Path(out)
    watch = watch or Nobody()
    if note := put_back(folder):
        watch.note(note)
    record = read_record(folder)
    found = mismatches(folder, record, threads=threads, watch=watch)
    if found:
        raise VerifyError(_told(found), where=str(out), hint=_hint(found))
    return Verified(str(out), record.digest(), len(record.tensors), len(record.files), record.hashed)


def mismatches(folder: Path, record: Record, *, threads: int | None, watch: Watch) -> list[Mismatch]:
    """All that is not as recorded."""
    with closing(_opened(folder)) as source:
        watch.begin("verifying", sum(header.nbytes for header in source.headers().values()))
        try:
            tensors = _tensors(source, record, thread_count(threads), watch)
        finally:
            watch.end()
        return check(record, tensors, source.metadata(), file_digests(folder))


def _opened(folder: Path) -> Source:
    """The weights; whatever keeps them from being read is a difference from the record."""
    try:
        return open_source(str(folder), label=folder.name)
    except InputError as error:
        raise VerifyError(error.problem, where=error.where, hint=error.hint) from None


def _tensors(source: Source, record: Record, threads: int, watch: Watch) -> Mapping[str, tuple[Header, str | None]]:
    """Header and digest of every tensor; those without a recorded digest are not read."""
    headers = source.headers()
    cuts = {name: entry.segment for name, entry in record.tensors.items() if entry.digest is not None}
    work = [
        (name, start, min(start + cuts[name], header.numel))
        for name, header in headers.items()
        if name in cuts
        for start in range(0, max(header.numel, 1), cuts[name])
    ]
    segments: dict[str, list[bytes]] = {}
    with ThreadPoolExecutor(threads) as pool:
        hashed = pool.map(lambda piece: segment_digest(source, *piece), work)
        for (name, start, stop), value in zip(work, hashed, strict=True):
            segments.setdefault(name, []).append(value)
            watch.advance((stop - start) * itemsize(headers[name].dtype))
    return {
        name: (header, digest.of_tensor(segments[name]) if name in segments else None)
        for name, header in headers.items()
    }


def segment_digest(source: Source, name: str, start: int, stop: int) -> bytes:
    """Of elements [start, stop) of a tensor, as records have them."""
    state, size = digest.hasher(), itemsize(source.headers()[name].dtype)
    step = _PIECE // size
    buffer = memoryview(bytearray(min(step, max(stop - start, 0)) * size))
    for first in range(start, stop, step):
        data = buffer[: (min(first + step, stop) - first) * size]
        source.read_into(name, first, data)
        state.update(data)
    return digest.of_segment(state)


def _told(found: list[Mismatch]) -> str:
    lines = [f"  {one.kind} {one.name}: {one.problem}" for one in found]
    return f"{len(found)} {'difference' if len(found) == 1 else 'differences'} from {NAME}\n" + "\n".join(lines)


def _hint(found: list[Mismatch]) -> str:
    if any(one.kind == "tensor" for one in found):
        return "copy it again, or make it again with `ligate replay`."
    return "the weights are as recorded; only files beside them differ."
