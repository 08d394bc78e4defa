"""What to do, as data: one `Out` per output tensor. A plan can be hashed, stored and sent elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ligate.core.tensors import Header


class Operand(NamedTuple):
    """A tensor of a source: index into `Plan.sources` and the name in that source."""

    source: int
    name: str


@dataclass(frozen=True)
class Out:
    """One output tensor: where its numbers come from and what is done to them.

    `method` is a catalogue id, or None: the tensor is copied from `tuned[0]` and every other operand must be equal
    to it (integer buffers, tensors taken from one model). `params` are resolved: every default filled in, per-model
    values as tuples in the order of `tuned`. `measured` holds one operand, or one for each model in that order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    method: str | None
    tuned: tuple[Operand, ...]
    base: Operand | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, tuple[Operand, ...]] = field(default_factory=dict)  # by keyword of the rule

    @property
    def header(self) -> Header:
        return Header(self.dtype, self.shape)

    @property
    def operands(self) -> tuple[Operand, ...]:
        measured = (operand for each in self.measured.values() for operand in each)
        return (*((self.base,) if self.base else ()), *self.tuned, *measured)


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of the result, and nothing else (no path, no thread count)."""

    sources: tuple[str, ...]  # labels
    outs: tuple[Out, ...]  # in the order in which they are stored
    dropped: tuple[Operand, ...] = ()  # input tensors left out by request
    seed: int = 0
    shard_bytes: int = 5_000_000_000
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the output's safetensors files

    def digest(self) -> str:
        """The same for the same plan on any machine."""
        outs = [
            (o.name, o.dtype, o.shape, o.method, o.tuned, o.base, o.params, *([o.measured] if o.measured else []))
            for o in self.outs
        ]
        parts = (self.sources, outs, self.dropped, self.seed, self.shard_bytes, self.metadata)
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
