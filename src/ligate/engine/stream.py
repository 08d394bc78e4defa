"""Blocks in and results out: read every operand's piece, hash it, fill the result, hash and write that."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ligate.core.errors import NonFiniteError, spoken_index
from ligate.core.tensors import Sink, itemsize

from . import digest
from .blocks import Span
from .job import Job
from .workspace import Block, Workspace

_AHEAD = 1 << 22  # elements announced to the operating system while reading turns out to be slow
_SLOW = 1.5e9  # bytes per second; below this the data did not come from memory


@dataclass(frozen=True)
class Terms:
    """What is the same for every pass of one run."""

    sink: Sink
    hashing: bool
    allow_nonfinite: bool
    progress: Callable[[int], None]  # bytes read or written
    stopped: Callable[[], bool] = lambda: False  # somebody wants the run to end
    device: str | None = None  # of rules that need a whole tensor


class Stopped(Exception):
    """No error, the way out: the run ends early; what this pass had not finished is done again on resume."""


def blocks(
    job: Job, spans: Iterable[Span], space: Workspace, hashers: list[Any] | None, terms: Terms
) -> Iterator[tuple[Span, Block]]:
    """Read and hash block after block into the same buffers."""
    names, dtypes = [operand.name for operand in job.out.operands], job.stored
    size, block, announced = -1, None, 0
    for span in spans:
        if terms.stopped():
            raise Stopped
        if block is None or span.stop - span.start != size:
            size = span.stop - span.start
            block = space.block(dtypes, job.sizes(size), job.compute, job.out.dtype, size)
        began = time.perf_counter()
        for source, name, whole, target in zip(job.sources, names, job.whole, block.bytes_in, strict=True):
            source.read_into(name, span.start if whole is None else 0, target)
        nbytes = sum(map(len, block.bytes_in))
        slow = nbytes < _SLOW * (time.perf_counter() - began)
        if slow and span.stop + _AHEAD // 2 > announced:
            announced = _announce(job, names, max(announced, span.stop))
        for state, data in zip(hashers or (), block.bytes_in, strict=False):
            state.update(data)
        terms.progress(nbytes)
        yield span, block


def sample(job: Job, spans: list[Span], space: Workspace, terms: Terms) -> Block:
    """Several short pieces of equal length behind each other in one block."""
    piece = spans[0].stop - spans[0].start
    size = piece * len(spans)
    block = space.block(job.stored, job.sizes(size), job.compute, job.out.dtype, size)
    for source, operand, target in zip(job.sources, job.out.operands, block.bytes_in, strict=True):
        step = len(target) // len(spans)
        for i, span in enumerate(spans):
            source.read_into(operand.name, span.start, target[i * step : (i + 1) * step])
    terms.progress(sum(map(len, block.bytes_in)))
    return block


def produce(
    job: Job,
    segment: int,
    found: Iterable[tuple[Span, Block]],
    hashers: list[Any] | None,
    fill: Callable[[Span, Block], None],
    terms: Terms,
) -> None:
    """Fill, hash and write block after block; note the segment's digests."""
    written = digest.hasher() if terms.hashing else None
    for span, block in found:
        fill(span, block)
        if written is not None:
            written.update(block.bytes_out)
        terms.sink.write(job.out.name, span.start, block.bytes_out)
        terms.progress(len(block.bytes_out))
    note_inputs(job, segment, hashers)
    if written is not None:
        job.written[segment] = digest.of_segment(written)


def new_hashers(job: Job, segment: int, terms: Terms) -> list[Any] | None:
    """One hasher per operand the first time a segment is read."""
    if not terms.hashing or job.read[segment] is not None:
        return None
    return [digest.hasher() for _ in job.sources]


def note_inputs(job: Job, segment: int, hashers: list[Any] | None) -> None:
    if hashers is not None:
        job.read[segment] = tuple(map(digest.of_segment, hashers))


def _announce(job: Job, names: list[str], start: int) -> int:
    stop = min(start + _AHEAD, job.cut.numel)
    if stop > start:
        for source, name in zip(job.sources, names, strict=True):
            source.prefetch(name, start, stop)
    return stop


def broken_input(job: Job, span: Span, operand: int, block: Block) -> NonFiniteError | None:
    """What to say about the first number of an operand that is not finite; None when all are."""
    found = _first_broken(block.bytes_in[operand], job.stored[operand])
    if found is None:
        return None
    source, name = job.sources[operand], job.out.operands[operand].name
    start = span.start if job.whole[operand] is None else 0
    return NonFiniteError(
        f"{found[1]} at element {spoken_index(start + found[0], job.headers[operand].shape)}",
        where=f"{source.place(name)}, tensor {name}, model {source.label}",
        hint="repair or replace this checkpoint; `--allow-nonfinite` merges it as it is.",
    )


def broken_result(job: Job, span: Span, block: Block) -> NonFiniteError:
    """What to say about a block whose result is not finite: the fault of an input, or of the rule."""
    for operand in range(len(job.sources)):
        if error := broken_input(job, span, operand, block):
            return error
    at, what = _first_broken(block.bytes_out, job.out.dtype) or (0, "not finite")
    return NonFiniteError(
        f"the result is {what} at element {spoken_index(span.start + at, job.out.shape)}",
        where=f"tensor {job.out.name}",
        hint=f"{job.out.method or 'a copy'} left the range of {job.out.dtype}: use smaller weights or a wider dtype.",
    )


_FORMATS = {"F16": "e", "F32": "f", "F64": "d"}


def _first_broken(data: memoryview, dtype: str) -> tuple[int, str] | None:
    """Where the first number that is not finite stands, and what it is. Slow: somebody knows that there is one."""
    width = itemsize(dtype)
    for at in range(len(data) // width):
        raw = bytes(data[at * width : (at + 1) * width])
        number = struct.unpack("<f", b"\0\0" + raw)[0] if dtype == "BF16" else _unpacked(raw, dtype)
        if not math.isfinite(number):
            return at, "NaN" if math.isnan(number) else str(number)
    return None


def _unpacked(raw: bytes, dtype: str) -> float:
    return struct.unpack("<" + _FORMATS[dtype], raw)[0] if dtype in _FORMATS else 0.0
