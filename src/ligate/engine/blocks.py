"""How a tensor is cut: into segments (the unit of scheduling, digests and resume) and those into blocks.

Cuts depend on the shape alone, so that threads, memory and resume cannot change a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ligate.core.method import Reach

BLOCK = 1 << 17  # elements; below, handing work over dominates, above 2^18 the caches miss
SEGMENT = 1 << 25  # elements: 64 MiB of 16-bit numbers
GLIMPSE = 1 << 10  # elements read together when a tensor is only sampled


class Span(NamedTuple):
    """Elements [start, stop) of a flattened tensor."""

    start: int
    stop: int


class Cut(NamedTuple):
    numel: int
    block: int
    segment: int

    def segments(self) -> list[Span]:
        """At least one, so that an empty tensor is finished like any other."""
        starts = range(0, max(self.numel, 1), self.segment)
        return [Span(start, min(start + self.segment, self.numel)) for start in starts]

    def blocks(self, span: Span) -> Iterator[Span]:
        for start in range(span.start, span.stop, self.block):
            yield Span(start, min(start + self.block, span.stop))

    def glimpses(self, elements: int) -> Sequence[Span]:
        """Evenly spaced short spans, about `elements` numbers in all."""
        pieces = max(1, min(math.ceil(elements / GLIMPSE), math.ceil(self.numel / GLIMPSE)))
        room = max(self.numel - GLIMPSE, 0)
        starts = (room * i // max(pieces - 1, 1) // 8 * 8 for i in range(pieces))
        return [Span(start, min(start + GLIMPSE, self.numel)) for start in starts]


def cut(shape: Sequence[int], reach: Reach = "block") -> Cut:
    """Blocks of any elements, of whole rows (last axis), or of the whole tensor, as the rule needs."""
    numel = math.prod(shape)
    if reach == "tensor":
        return Cut(numel, max(numel, 1), max(numel, 1))
    if reach == "row":
        row = max(shape[-1] if shape else 1, 1)
        block = max(1, BLOCK // row) * row
        return Cut(numel, block, max(1, SEGMENT // block) * block)
    return Cut(numel, BLOCK, SEGMENT)
