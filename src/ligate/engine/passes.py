"""The inner loops: read a block of every operand, hash it, check it, cast it, then observe, apply or copy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ligate.core import kernels
from ligate.core.draw import uniform
from ligate.core.errors import InputError, LigateError, NonFiniteError, RecipeError
from ligate.core.method import Site, Stat
from ligate.core.tensors import MERGEABLE, Sink

from . import digest
from .blocks import Span
from .job import Job
from .workspace import Block, Workspace

if TYPE_CHECKING:
    from torch import Tensor

_AHEAD = 1 << 22  # elements announced to the operating system while reading turns out to be slow
_SLOW = 1.5e9  # bytes per second; below this the data did not come from memory


@dataclass(frozen=True)
class Terms:
    """What is the same for every pass of one run."""

    sink: Sink
    hashing: bool
    allow_nonfinite: bool
    progress: Callable[[int], None]  # bytes read or written


def observe_segment(job: Job, stat: Stat, state: Any, segment: int, space: Workspace, terms: Terms) -> Any:
    """One statistic over one segment."""
    hashers = _hashers(job, segment, terms)
    for span, block in _checked_blocks(job, segment, space, hashers, terms):
        state = _observe(job, stat, state, span, block)
    _note_inputs(job, segment, hashers)
    return state


def observe_sample(job: Job, stat: Stat, state: Any, elements: int, space: Workspace, terms: Terms) -> Any:
    """One statistic over a few short pieces of the tensor."""
    for span, block in _blocks(job, iter(job.cut.glimpses(elements)), space, None, terms):
        _cast(job, span, block, check=False)
        state = _observe(job, stat, state, span, block)
    return state


def apply_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """The rule over one segment; its result is rounded once and written."""
    hashers = _hashers(job, segment, terms)
    rule, known = _rule(job), {**job.values, **job.out.params}
    check = not terms.allow_nonfinite

    def fill(span: Span, block: Block) -> None:
        base, tuned = _split(job, block.numbers)
        numbers = _sound(job, rule(span, base, tuned, **known), block)
        if not kernels.narrow(numbers, block.result, check=check) and check:
            raise _broken_result(job, span, block.result)

    _produce(job, segment, hashers, _checked_blocks(job, segment, space, hashers, terms), fill, terms)


def combine_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """A rule that only weighs its operands, straight from the stored numbers to the result; the same bits."""
    hashers = _hashers(job, segment, terms)
    weights, divisor = combination(job)

    def fill(span: Span, block: Block) -> None:
        if not kernels.combine_stored(block.stored, weights, divisor, block.result) and not terms.allow_nonfinite:
            _cast(job, span, block, check=True)
            raise _broken_result(job, span, block.result)

    blocks = _blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms)
    _produce(job, segment, hashers, blocks, fill, terms)


def combines(job: Job) -> bool:
    """Whether `combine_segment` can do this job."""
    narrow = not job.has_base and job.compute == "F32" and {job.out.dtype, *job.stored} == {"BF16"}
    return narrow and kernels.compiled() and job.card is not None and job.card.combination is not None


def combination(job: Job) -> tuple[Sequence[float], float]:
    """Weights of the operands and the divisor of their sum."""
    if job.card is None or job.card.combination is None:
        raise LigateError("no weighted sum of its operands", where=job.out.name)
    models = len(job.out.tuned)
    weights, divisor = job.card.combination(job.out.params, models)
    if len(weights) != models:  # the loop would read beyond their end
        raise RecipeError(
            f"the combination gives {len(weights)} weights for {models} models", where=job.out.method or ""
        )
    return weights, divisor


def copy_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """The first operand as it is; any other operand must be equal to it."""
    hashers = _hashers(job, segment, terms)
    check = job.out.dtype in MERGEABLE and not terms.allow_nonfinite

    def fill(span: Span, block: Block) -> None:
        _check_equal(job, span, block)
        _copy(block.stored[0], block.result)
        if check and not kernels.all_finite(block.result):
            raise _broken_copy(job, span, block)

    blocks = _blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms)
    _produce(job, segment, hashers, blocks, fill, terms)


def _produce(
    job: Job,
    segment: int,
    hashers: list[Any] | None,
    blocks: Iterator[tuple[Span, Block]],
    fill: Callable[[Span, Block], None],
    terms: Terms,
) -> None:
    """Fill, hash and write block after block; note the segment's digests."""
    written = digest.hasher() if terms.hashing else None
    for span, block in blocks:
        fill(span, block)
        _emit(job, span, block.bytes_out, written, terms)
    _note_inputs(job, segment, hashers)
    if written is not None:
        job.written[segment] = digest.of_segment(written)


def _copy(stored: Tensor, result: Tensor) -> None:
    if stored.dtype == result.dtype:
        result.copy_(stored)
    else:
        kernels.narrow(stored, result, check=False)


def _sound(job: Job, numbers: Any, block: Block) -> Tensor:
    """What a rule returned, if it is what a rule has to return (a user's own may err)."""
    due, found = _kind(block.rows[0]), _kind(numbers)
    if found != due:
        raise RecipeError(
            f"the rule returned {found} where {due} is due",
            where=f"{job.out.method}, tensor {job.out.name}",
            hint="a rule returns one number for each element of its block, of the kind it was given.",
        )
    return numbers.contiguous()


def _kind(value: Any) -> str:
    """`torch.float32 (5,)`, and whatever is unusual about it."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    layout = "" if value.layout == torch.strided else f"{value.layout} "
    device = "" if value.device.type == "cpu" else f" on {value.device}"
    return f"{layout}{value.dtype} {tuple(value.shape)}{device}"


def _rule(job: Job) -> Callable[..., Any]:
    """The method's function, told where it stands if it asks."""
    if job.card is None:
        raise LigateError("a tensor without a method has no rule", where=job.out.name)
    card = job.card

    def rule(span: Span, base: Tensor | None, tuned: Tensor, **known: Any) -> Any:
        if card.takes_site:
            return card.function(base, tuned, site=_site(job, span), **known)
        return card.function(base, tuned, **known)

    return rule


def _observe(job: Job, stat: Stat, state: Any, span: Span, block: Block) -> Any:
    base, tuned = _split(job, block.numbers)
    return stat.observe(state, base, tuned, site=_site(job, span), **job.values)


def _split(job: Job, numbers: Tensor) -> tuple[Tensor | None, Tensor]:
    return (numbers[0], numbers[1:]) if job.has_base else (None, numbers)


def _site(job: Job, span: Span) -> Site:
    labels = [source.label for source in job.sources[job.has_base :]]

    def noise(model: int, step: int = 0) -> Tensor:
        numbers = uniform(job.seed, job.out.name, labels[model], step, span.start, span.stop - span.start)
        drawn = torch.from_numpy(numbers)
        return drawn if job.compute == "F32" else drawn.double()

    return Site(job.out.name, job.out.shape, span.start, noise)


def _checked_blocks(
    job: Job, segment: int, space: Workspace, hashers: list[Any] | None, terms: Terms
) -> Iterator[tuple[Span, Block]]:
    """The numbers of a segment's blocks; that they are finite is checked the first time they are read."""
    check = not job.checked[segment] and not terms.allow_nonfinite
    for span, block in _blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms):
        _cast(job, span, block, check=check)
        yield span, block
    job.checked[segment] = True


def _blocks(
    job: Job, spans: Iterator[Span], space: Workspace, hashers: list[Any] | None, terms: Terms
) -> Iterator[tuple[Span, Block]]:
    """Read and hash block after block into the same buffers."""
    names = [operand.name for operand in job.out.operands]
    dtypes = job.stored
    size, block, announced = -1, None, 0
    for span in spans:
        if block is None or span.stop - span.start != size:
            size = span.stop - span.start
            block = space.block(dtypes, job.compute, job.out.dtype, size)
        began = time.perf_counter()
        for source, name, target in zip(job.sources, names, block.bytes_in, strict=True):
            source.read_into(name, span.start, target)
        nbytes = sum(map(len, block.bytes_in))
        slow = nbytes < _SLOW * (time.perf_counter() - began)
        if slow and span.stop + _AHEAD // 2 > announced:
            announced = _announce(job, names, max(announced, span.stop))
        for state, data in zip(hashers or (), block.bytes_in, strict=False):
            state.update(data)
        terms.progress(nbytes)
        yield span, block


def _cast(job: Job, span: Span, block: Block, *, check: bool) -> None:
    for operand, stored in enumerate(block.stored):
        if not kernels.widen(stored, block.rows[operand], check=check) and check:
            raise _broken_input(job, span, operand, block.rows[operand])


def _announce(job: Job, names: list[str], start: int) -> int:
    stop = min(start + _AHEAD, job.cut.numel)
    if stop > start:
        for source, name in zip(job.sources, names, strict=True):
            source.prefetch(name, start, stop)
    return stop


def _hashers(job: Job, segment: int, terms: Terms) -> list[Any] | None:
    """One hasher per operand the first time a segment is read."""
    if not terms.hashing or job.read[segment] is not None:
        return None
    return [digest.hasher() for _ in job.sources]


def _note_inputs(job: Job, segment: int, hashers: list[Any] | None) -> None:
    if hashers is not None:
        job.read[segment] = tuple(map(digest.of_segment, hashers))


def _emit(job: Job, span: Span, data: memoryview, written: Any, terms: Terms) -> None:
    if written is not None:
        written.update(data)
    terms.sink.write(job.out.name, span.start, data)
    terms.progress(len(data))


def _broken_input(job: Job, span: Span, operand: int, numbers: Tensor) -> NonFiniteError:
    source, name = job.sources[operand], job.out.operands[operand].name
    at = int((~torch.isfinite(numbers)).nonzero()[0])
    return NonFiniteError(
        f"{_spoken(numbers[at])} at element {span.start + at}",
        where=f"{source.place(name)}, tensor {name}, model {source.label}",
        hint="repair or replace this checkpoint; `--allow-nonfinite` merges it as it is.",
    )


def _broken_copy(job: Job, span: Span, block: Block) -> NonFiniteError:
    """The input's fault, or that of a narrower output dtype."""
    stored = block.stored[0]
    faulty = not kernels.all_finite(stored)
    return _broken_input(job, span, 0, stored) if faulty else _broken_result(job, span, block.result)


def _broken_result(job: Job, span: Span, result: Tensor) -> NonFiniteError:
    at = int((~torch.isfinite(result)).nonzero()[0])
    return NonFiniteError(
        f"the result is {_spoken(result[at])} at element {span.start + at}",
        where=f"tensor {job.out.name}",
        hint=f"{job.out.method or 'a copy'} left the range of {job.out.dtype}: use smaller weights or a wider dtype.",
    )


def _check_equal(job: Job, span: Span, block: Block) -> None:
    first = block.bytes_in[0]
    for source, operand, data in list(zip(job.sources, job.out.operands, block.bytes_in, strict=True))[1:]:
        if data != first:
            raise InputError(
                f"differs between {job.sources[0].label} and {source.label} and holds no floating-point weights",
                where=f"{source.place(operand.name)}, tensor {operand.name}",
                hint="leave it out with `drop:`, or make the models agree on it.",
            )


def _spoken(value: Tensor) -> str:
    number = float(value)
    return "NaN" if math.isnan(number) else f"{number}"


def statistics(job: Job) -> Mapping[str, Any]:
    """What the record keeps of a tensor's statistics."""
    return {name: dict(report) for name, report in job.reports.items()}
