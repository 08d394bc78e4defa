"""One output tensor on its way through the engine: what it is made of, what is known of it so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ligate.core.method import Card, Stat
from ligate.core.tensors import Header, Source

from .blocks import Cut, Span, cut
from .plan import Out, Plan

_NARROW = frozenset({"F16", "BF16", "F8_E4M3", "F8_E5M2"})


@dataclass
class Job:
    """State of one output tensor. Each segment's entries are written by the one task that owns the segment."""

    out: Out
    card: Card | None
    sources: Sequence[Source]  # one per operand of `out`: base, models, what was measured
    cut: Cut
    segments: Sequence[Span]
    compute: str  # dtype in which the rule calculates
    seed: int
    values: dict[str, Any] = field(default_factory=dict)  # finished statistics, by name
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    checked: list[bool] = field(default_factory=list)  # per segment: all operands are known to be finite
    read: list[tuple[bytes, ...] | None] = field(default_factory=list)  # per segment: digests of the operands
    written: list[bytes | None] = field(default_factory=list)  # per segment: digest of the result
    direct: bool = False  # compiled loops do all of it; known once `compute` is settled

    @cached_property
    def stats(self) -> Sequence[Stat]:
        return tuple(self.card.stats(self.out.params)) if self.card else ()

    @cached_property
    def stored(self) -> Sequence[str]:
        """The dtype in which each operand is stored."""
        return [header.dtype for header in self.headers]

    @cached_property
    def whole(self) -> Sequence[int | None]:
        """Elements of each operand of a shape of its own, read whole; None where it is cut as the result is."""
        own = [at >= self.models and header.shape != self.out.shape for at, header in enumerate(self.headers)]
        return [header.numel if alone else None for header, alone in zip(self.headers, own, strict=True)]

    @cached_property
    def headers(self) -> Sequence[Header]:
        """Of each operand."""
        pairs = zip(self.sources, self.out.operands, strict=True)
        return [source.headers()[operand.name] for source, operand in pairs]

    @property
    def models(self) -> int:
        """How many operands are models, the base included; the others were measured."""
        return self.has_base + len(self.out.tuned)

    @property
    def nbytes(self) -> int:
        """Of all operands, as they are stored."""
        return sum(header.nbytes for header in self.headers)

    def sizes(self, n: int) -> tuple[int, ...]:
        """Elements of each operand that go with n elements of the result."""
        return tuple(n if whole is None else whole for whole in self.whole)

    @property
    def has_base(self) -> bool:
        return self.out.base is not None

    def statistics(self) -> Mapping[str, Any]:
        """What the record keeps of the tensor's statistics."""
        return {name: dict(report) for name, report in self.reports.items()}

    def done(self, segment: int) -> bool:
        return self.written[segment] is not None


def make_job(plan: Plan, out: Out, card: Card | None, sources: Sequence[Source]) -> Job:
    card = card if 0 not in out.shape else None  # nothing to compute: no rule has to think of it
    pieces = cut(out.shape, card.reach if card else "block")
    segments = pieces.segments()
    operands = [sources[operand.source] for operand in out.operands]
    return Job(
        out,
        card,
        operands,
        pieces,
        segments,
        compute_dtype(out, operands),
        plan.seed,
        checked=[False] * len(segments),
        read=[None] * len(segments),
        written=[None] * len(segments),
    )


def compute_dtype(out: Out, sources: Sequence[Source]) -> str:
    """float32 where everything stored is 16-bit or less; float64 otherwise, so that fp32 results are exact too.

    What was measured is no more exact for it, and float32 is enough.
    """
    natives = [source.headers()[operand.name].native for source, operand in zip(sources, out.operands, strict=True)]
    models = bool(out.base) + len(out.tuned)
    narrow = _NARROW.issuperset((*natives[:models], out.dtype)) and {*_NARROW, "F32"}.issuperset(natives[models:])
    return "F32" if narrow else "F64"
