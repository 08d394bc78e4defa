"""The passes of a rule that compiled loops do straight from the stored numbers; the same bits as `passes` gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ligate.core import compiled
from ligate.core.direct import COMPUTES, Rule, Stored, WeightedSum
from ligate.core.draw import key
from ligate.core.errors import LigateError, RecipeError
from ligate.core.method import Site, Stat
from ligate.core.tensors import MERGEABLE

from .blocks import Span
from .job import Job
from .stream import Terms, blocks, broken_input, broken_result, new_hashers, note_inputs, produce, sample
from .workspace import Block, Workspace


def directs(job: Job) -> bool:
    """Whether this job can do without torch: one stored dtype, a rule and measurements that say how."""
    if not compiled.available() or {*job.stored} != {job.out.dtype} or job.out.measured:
        return False
    if job.card is None:
        return len(job.sources) == 1 and (job.out.dtype in COMPUTES or job.out.dtype not in MERGEABLE)
    if job.card.direct is None or COMPUTES.get(job.out.dtype) != job.compute:
        return False
    return all(stat.direct is not None for stat in job.stats)


def observe_segment(job: Job, stat: Stat, state: Any, segment: int, space: Workspace, terms: Terms) -> Any:
    """One statistic over one segment."""
    hashers = new_hashers(job, segment, terms)
    for span, block in _checked_blocks(job, segment, space, hashers, terms):
        state = _observe(job, stat, state, span.start, _stored(job, block, (span.start,)))
    note_inputs(job, segment, hashers)
    return state


def observe_sample(job: Job, stat: Stat, state: Any, elements: int, space: Workspace, terms: Terms) -> Any:
    """One statistic over a few short pieces of the tensor, all at once."""
    pieces = list(job.cut.glimpses(elements))
    block = sample(job, pieces, space, terms)
    return _observe(
        job, stat, state, 0, _stored(job, block, [piece.start for piece in pieces], pieces[0].stop - pieces[0].start)
    )


def apply_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """The rule over one segment."""
    hashers = new_hashers(job, segment, terms)
    rule = _rule(job)

    def fill(span: Span, block: Block) -> None:
        if not rule.into(_stored(job, block, (span.start,)), block.address_out) and not terms.allow_nonfinite:
            raise broken_result(job, span, block)

    # a weighted sum shows by its result that its inputs are finite; an election may leave out what is not
    shown = isinstance(rule, WeightedSum)
    spans = job.cut.blocks(job.segments[segment])
    found = blocks(job, spans, space, hashers, terms) if shown else _checked_blocks(job, segment, space, hashers, terms)
    produce(job, segment, found, hashers, fill, terms)


def copy_segment(job: Job, segment: int, space: Workspace, terms: Terms) -> None:
    """The only operand as it is."""
    hashers = new_hashers(job, segment, terms)
    check = job.out.dtype in COMPUTES and not terms.allow_nonfinite

    def fill(span: Span, block: Block) -> None:
        block.bytes_out[:] = block.bytes_in[0]
        if check and not Stored(job.out.dtype, None, (), block.n).finite(block.address_out):
            raise broken_result(job, span, block)

    found = blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms)
    produce(job, segment, found, hashers, fill, terms)


def _rule(job: Job) -> Rule:
    if job.card is None or job.card.direct is None:
        raise LigateError("no rule for stored numbers", where=job.out.name)
    models = len(job.out.tuned)
    rule = job.card.direct({**job.values, **job.out.params}, models)
    if len(rule.weights) != models:  # the loop would read beyond their end
        raise RecipeError(f"the rule gives {len(rule.weights)} weights for {models} models", where=job.out.method or "")
    return rule


def _observe(job: Job, stat: Stat, state: Any, start: int, stored: Stored) -> Any:
    if stat.direct is None:
        raise LigateError(f"`{stat.name}` cannot be measured on stored numbers", where=job.out.name)
    return stat.direct(state, stored, site=Site(job.out.name, job.out.shape, start, _no_noise), **job.values)


def _no_noise(model: int, step: int = 0) -> Any:
    raise LigateError("what draws random numbers works on tensors")


def _stored(job: Job, block: Block, starts: Sequence[int], piece: int | None = None) -> Stored:
    """The addresses of a block, kept with it, since thousands of blocks share one; and where it stands now."""
    stored = block.tables.get(job.has_base) if piece is None else None
    if stored is None:
        base, rows = (block.addresses[0], block.addresses[1:]) if job.has_base else (None, block.addresses)
        stored = Stored(job.out.dtype, base, rows, block.n, piece)
    if piece is None:
        block.tables[job.has_base] = stored
    stored.starts, stored.noise_key = starts, partial(_noise_key, job)
    return stored


def _noise_key(job: Job, model: int, step: int) -> int:
    return key(job.seed, job.out.name, job.sources[model + job.has_base].label, step)


def _checked_blocks(
    job: Job, segment: int, space: Workspace, hashers: list[Any] | None, terms: Terms
) -> Iterator[tuple[Span, Block]]:
    """A segment's blocks; that their numbers are finite is checked the first time they are read."""
    check = not job.checked[segment] and not terms.allow_nonfinite
    for span, block in blocks(job, job.cut.blocks(job.segments[segment]), space, hashers, terms):
        if check:
            stored = _stored(job, block, (span.start,))
            for operand, address in enumerate(block.addresses):
                if not stored.finite(address):
                    raise broken_input(job, span, operand, block) or broken_result(job, span, block)
        yield span, block
    job.checked[segment] = True
