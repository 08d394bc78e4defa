"""How far two checkpoints are apart, tensor by tensor, in one pass over both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ligate.core.errors import InputError
from ligate.core.tensors import Source

from .opening import Model, opened
from .values import numbers, stored_blocks
from .watch import Nobody, Watch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Distance:
    """Distance of one tensor in B from the same tensor in A. None: not defined (a zero or non-finite norm)."""

    name: str
    shape: tuple[int, ...]
    relative: float | None  # |a - b| / |a|, in the 2-norm
    largest: float  # max |a - b|
    cosine: float | None
    equal: float  # share of elements with equal values


@dataclass(frozen=True)
class Difference:
    """All that keeps A and B apart. `total` takes the common tensors together, as one long vector."""

    a: str
    b: str
    tensors: tuple[Distance, ...]  # the most distant first
    total: Distance
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]  # name, shape in A, shape in B
    retyped: tuple[tuple[str, str, str], ...]  # name, dtype in A, dtype in B

    @property
    def same(self) -> bool:
        """Equal names, shapes, dtypes and values."""
        return self.total.equal == 1.0 and not (self.only_a or self.only_b or self.reshaped or self.retyped)


@dataclass
class _Sums:
    """Running sums over elements; adding two of them gives the sums over both parts."""

    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0
    dd: float = 0.0
    largest: float = 0.0
    equal: int = 0
    count: int = 0

    def observe(self, a: Tensor, b: Tensor) -> None:
        apart = a - b
        self.aa += a.dot(a).item()
        self.bb += b.dot(b).item()
        self.ab += a.dot(b).item()
        self.dd += apart.dot(apart).item()
        self.largest = _larger(self.largest, apart.abs_().max().item())
        self.equal += int((a == b).sum())
        self.count += a.numel()

    def add(self, other: _Sums) -> None:
        self.aa, self.bb = self.aa + other.aa, self.bb + other.bb
        self.ab, self.dd = self.ab + other.ab, self.dd + other.dd
        self.largest = _larger(self.largest, other.largest)
        self.equal, self.count = self.equal + other.equal, self.count + other.count

    def distance(self, name: str, shape: tuple[int, ...]) -> Distance:
        relative = math.sqrt(self.dd) / math.sqrt(self.aa) if self.aa > 0 else (0.0 if self.dd == 0 else None)
        norms = math.sqrt(self.aa) * math.sqrt(self.bb)
        cosine = max(-1.0, min(1.0, self.ab / norms)) if norms > 0 and math.isfinite(norms) else None
        equal = self.equal / self.count if self.count else 1.0
        return Distance(name, shape, _finite(relative), self.largest, cosine, equal)


def diff(a: Model, b: Model, *, watch: Watch | None = None) -> Difference:
    """Compare two checkpoints by tensor name; B may lie in other files, shards and dtypes than A.

    Raises:
        InputError: a checkpoint cannot be read, or the two have no tensor name in common.
    """
    with opened(a, unnamed="A") as one, opened(b, unnamed="B") as two:
        return _difference(one, two, watch or Nobody())


def _difference(one: Source, two: Source, watch: Watch) -> Difference:
    ours, theirs = one.headers(), two.headers()
    common = [name for name in ours if name in theirs]
    if not common:
        raise InputError(
            f"{one.label} and {two.label} have no tensor name in common", hint="see `ligate inspect` of both."
        )
    alike = [name for name in common if ours[name].shape == theirs[name].shape]
    total, distances = _Sums(), list[Distance]()
    watch.begin("comparing", sum(ours[name].nbytes + theirs[name].nbytes for name in alike))
    try:
        for name in alike:
            sums = _compare(one, two, name, watch)
            total.add(sums)
            distances.append(sums.distance(name, ours[name].shape))
    finally:
        watch.end()
    return Difference(
        one.label,
        two.label,
        tuple(sorted(distances, key=_farthest_first)),
        total.distance("total", (total.count,)),
        tuple(name for name in ours if name not in theirs),
        tuple(name for name in theirs if name not in ours),
        tuple((n, ours[n].shape, theirs[n].shape) for n in common if ours[n].shape != theirs[n].shape),
        tuple((n, ours[n].dtype, theirs[n].dtype) for n in common if ours[n].dtype != theirs[n].dtype),
    )


def _compare(one: Source, two: Source, name: str, watch: Watch) -> _Sums:
    sums = _Sums()
    for a, b in zip(stored_blocks(one, name), stored_blocks(two, name), strict=True):
        sums.observe(numbers(a), numbers(b))
        watch.advance(a.nbytes + b.nbytes)
    return sums


def _farthest_first(distance: Distance) -> tuple[float, float]:
    relative = math.inf if distance.relative is None else distance.relative
    return (-relative, -(distance.largest if math.isfinite(distance.largest) else math.inf))


def _larger(a: float, b: float) -> float:
    """The larger one; NaN wins, so that it is seen."""
    return a if math.isnan(a) or a >= b else b


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
