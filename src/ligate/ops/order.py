"""The k-th largest magnitude of a stream: exact, in bounded memory, the same however the stream is cut.

1. Glance at a sample; a tensor not larger than the sample is then known completely, and done.
2. Count, in one pass, how much lies at and beyond the ends of a bracket around the sample's guess; collect the inside.
3. Should the bracket miss, or hold more different numbers than may be collected, do 2 again with a better bracket.

Only integers are added up, so neither the order of blocks nor the number of threads can change the outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ligate.core import kernels
from ligate.core.direct import Census, Difference, Stored, census
from ligate.core.method import Again, Scope, Site, Stat

from .before import UNCHANGED, Before
from .pile import Pile
from .rows import deltas, per_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SAMPLE = 1 << 16  # elements of a tensor in the first look
_UNIT = 1 << 10  # weight of an element seen for itself alone; one of a thinned tensor weighs numel / SAMPLE as much
_SIGMAS = 4.5  # half width of the bracket in standard errors of the sample
_CLUSTER = 8  # neighbours resemble each other: so many count as one independent look where nothing better is known
_FEWEST = 8  # pieces of a tensor from which the error of a sample can be told

Rows = Callable[..., Iterable["Tensor"]]
"""(base, tuned, site=, **earlier) -> one flat row per model; they may share their memory."""


class Kth(NamedTuple):
    """Keep every magnitude >= `value`: `kept` of `of` are kept, `ties` of them are equal to `value`."""

    value: float
    kept: int
    ties: int
    of: int


Rank = Callable[[float, int], int]
"""(share, numel) -> how many are kept."""


def rank(share: float, numel: int) -> int:
    """How many to keep: share times numel rounded down, but at least one unless the share is 0."""
    return max(1, int(share * numel)) if share > 0 else 0


def kth_largest(
    name: str,
    scope: Scope,
    share: float | Sequence[float],
    rows: Rows | None = None,
    *,
    rank: Rank | Sequence[Rank] = rank,
    group: Hashable = (),
    before: Before = UNCHANGED,
    stored: Callable[..., Sequence[Pieces | Difference]] | None = None,
    each: int = 1,
) -> Stat:
    """For each row of `rows` (task vectors if left out) the magnitude that the `share` largest reach: `Kth`, one each.

    The task vectors are those of what `before` makes of the models. `stored` gives the same as `rows`:
    (stored numbers, **earlier) -> one for each.

    `rank(share, numel)` is k, exactly; `share` must be near k / numel. With rank 0 nothing is kept. Each row may have a
    rank of its own, as it may have a share. With `each` > 1 so many neighbours in `share` and `rank` belong to one row.
    """

    def observe(state: _Glance | _Count, base: Tensor, tuned: Tensor, *, site: Site, **earlier: Any) -> Any:
        tuned = before.of(base, tuned, site=site, **earlier)
        found = deltas(base, tuned) if rows is None else rows(base, tuned, site=site, **earlier)
        return state.observed(map(_Row, found), site)

    def direct(state: _Glance | _Count, numbers: Stored, *, site: Site, **earlier: Any) -> Any:
        if before.stored:
            before.stored(numbers, **earlier)
        return state.observed(stored(numbers, **earlier) if stored else numbers.differences(), site)

    return Stat(
        name=name,
        scope=scope,
        init=lambda models: _Glance(_aims(per_model(share, models, name=name), rank), each),
        observe=observe,
        merge=lambda a, b: a.merged(b),
        finish=lambda state: state.finished(),
        report=report,
        sample=lambda state: SAMPLE if isinstance(state, _Glance) else None,
        group=group,
        direct=direct if (rows is None or stored) and before.stored else None,
    )


class _Row(NamedTuple):
    """What `Difference` is for stored numbers."""

    row: Tensor

    def magnitudes(self) -> Sequence[NDArray[Any]]:
        return (self.row.detach().abs().numpy(force=True),)

    def census(self, low: float, high: float) -> Census:
        return kernels.census(self.row, low, high)


class Pieces(NamedTuple):
    """Magnitudes that are there already."""

    pieces: Sequence[NDArray[Any]]  # float64

    def magnitudes(self) -> Sequence[NDArray[Any]]:
        return self.pieces

    def census(self, low: float, high: float) -> Census:
        found = self.pieces[0] if len(self.pieces) == 1 else np.concatenate(self.pieces)
        return census("f64", None, found.ctypes.data, low, high, len(found))


def _aims(shares: Sequence[float], rank: Rank | Sequence[Rank]) -> tuple[_Aim, ...]:
    ranks = (rank,) * len(shares) if callable(rank) else rank
    return tuple(_Aim(share, one) for share, one in zip(shares, ranks, strict=True))


def report(found: Sequence[Kth]) -> Mapping[str, Any]:
    return {
        "threshold": [kth.value if math.isfinite(kth.value) else None for kth in found],
        "kept": [kth.kept for kth in found],
        "ties": [kth.ties for kth in found],
        "of": [kth.of for kth in found],
    }


class _Aim(NamedTuple):
    """What is searched for."""

    share: float
    rank: Rank

    def k(self, numel: int) -> int:
        return self.rank(self.share, numel)


@dataclass
class _Glance:
    """First look. `piles` is None until something was seen."""

    aims: tuple[_Aim, ...]
    each: int  # aims of one row
    piles: list[Pile] | None = None  # one for each row
    whole: bool = True  # nothing was left out so far

    def observed(self, rows: Iterable[_Row | Pieces | Difference], site: Site) -> _Glance:
        state = self
        if self.piles is None:
            state = _Glance(self.aims, self.each, [Pile() for _ in range(len(self.aims) // self.each)])
        numel = math.prod(site.shape)
        weight = _UNIT if numel <= SAMPLE else numel * _UNIT // SAMPLE
        for pile, row in zip(state.piles or (), rows, strict=True):
            for piece in row.magnitudes():
                pile.add(piece, weight)
        state.whole = state.whole and numel <= SAMPLE
        return state

    def merged(self, other: _Glance) -> _Glance:
        if self.piles is None or other.piles is None:
            return other if self.piles is None else self
        for mine, theirs in zip(self.piles, other.piles, strict=True):
            mine.absorb(theirs)
        self.whole = self.whole and other.whole
        return self

    def finished(self) -> tuple[Kth, ...] | Again:
        piles = [pile for pile in self.piles or [] for _ in range(self.each)]
        if self.whole and all(pile.exact for pile in piles):
            return tuple(_settled(pile, aim) for pile, aim in zip(piles, self.aims, strict=True))
        hunts = [_Hunt(aim, _Guess(pile, aim.share)) for pile, aim in zip(piles, self.aims, strict=True)]
        return Again(_Count(tuple(hunt.aimed() for hunt in hunts), self.each))


def _settled(pile: Pile, aim: _Aim) -> Kth:
    """The answer from a pile that holds everything."""
    numel = pile.total // _UNIT
    k = aim.k(numel)
    if k == 0:
        return Kth(math.inf, 0, 0, numel)
    step = pile.step(k * _UNIT)
    return Kth(step.low, step.reached // _UNIT, step.weight // _UNIT, numel)


class _Guess:
    """A sample, and how far its quantiles may be off."""

    def __init__(self, pile: Pile, share: float) -> None:
        self._pile, self._share = pile, share
        self._error = self._standard_error() if share > 0 and pile.looks else 0.0

    def bracket(self, width: float) -> tuple[float, float]:
        """Magnitudes between which the quantile lies, `width` times as far as seems likely on both sides."""
        if self._share == 0:
            return math.inf, math.inf
        if not self._pile.looks:  # rows may leave numbers out, and the sample met only such
            return 0.0, math.inf
        margin = width * (_SIGMAS * self._error + 1 / self._pile.looks)
        least, most = self._share + margin, self._share - margin
        low = self._pile.step(math.ceil(least * self._pile.total)).low if least < 1 else 0.0
        high = self._pile.step(math.floor(most * self._pile.total)).high if most > 0 else math.inf
        return low, high

    def _standard_error(self) -> float:
        """Between the pieces of a tensor where they are known, else that of independent looks, cautiously."""
        share = min(self._share, 1.0)
        independent = math.sqrt(share * (1 - share) / self._pile.looks)
        pieces = self._pile.pieces()
        if len(pieces) < _FEWEST:
            return independent * math.sqrt(_CLUSTER)
        guess = self._pile.step(max(1, math.ceil(share * self._pile.total))).low
        shares = [np.count_nonzero(piece >= guess) / len(piece) for piece in pieces]
        return max(independent, float(np.std(shares)) / math.sqrt(len(pieces)))


@dataclass(frozen=True)
class _Hunt:
    """The search in one model. It ends when `found` is set."""

    aim: _Aim
    guess: _Guess
    low: float = 0.0
    high: float = math.inf
    width: float = 1.0
    found: Kth | None = None

    def aimed(self) -> _Hunt:
        low, high = self.guess.bracket(self.width)
        return replace(self, low=low, high=high)

    def tally(self) -> _Tally:
        return _Tally(self.low, self.high, Pile(self.low, self.high))

    def after(self, tally: _Tally) -> _Hunt:
        """What the counts say: found, or a better bracket."""
        k = self.aim.k(tally.seen)
        if k == 0 or not tally.seen:
            return replace(self, found=Kth(math.inf, 0, 0, tally.seen))
        if k <= tally.to_high and (tally.above < k or self.high == math.inf):  # only NaN is above infinity
            return replace(self, found=Kth(self.high, tally.to_high, tally.to_high - tally.above, tally.seen))
        if tally.to_high < k <= tally.beyond_low:
            return self._inside(tally, k)
        if tally.beyond_low < k <= tally.to_low:
            return replace(self, found=Kth(self.low, tally.to_low, tally.to_low - tally.beyond_low, tally.seen))
        return replace(self, width=self.width * 8).aimed()

    def _inside(self, tally: _Tally, k: int) -> _Hunt:
        step = tally.inside.step(k - tally.to_high)
        if not tally.inside.exact:
            return replace(self, low=step.low, high=step.high)
        kept = tally.to_high + step.reached
        return replace(self, found=Kth(step.low, kept, step.weight, tally.seen))


@dataclass
class _Tally:
    """Counts of magnitudes > high, >= high, > low, >= low, and those strictly between low and high."""

    low: float
    high: float
    inside: Pile
    seen: int = 0
    above: int = 0
    to_high: int = 0
    beyond_low: int = 0
    to_low: int = 0

    def count(self, row: _Row | Pieces | Difference) -> None:
        found = row.census(self.low, self.high)
        self.seen += found.of
        self.above += found.above
        self.to_high += found.to_high
        self.beyond_low += found.beyond_low
        self.to_low += found.to_low
        self.inside.add(found.inside, 1)

    def add(self, other: _Tally) -> None:
        self.seen += other.seen
        self.above += other.above
        self.to_high += other.to_high
        self.beyond_low += other.beyond_low
        self.to_low += other.to_low
        self.inside.absorb(other.inside)


@dataclass
class _Count:
    """A full pass. All segments start from one state, which nobody writes to: its `tallies` are None."""

    hunts: tuple[_Hunt, ...]
    each: int  # hunts in one row
    tallies: list[_Tally] | None = None

    def observed(self, rows: Iterable[_Row | Pieces | Difference], site: Site) -> _Count:
        state = self
        if self.tallies is None:
            state = _Count(self.hunts, self.each, [hunt.tally() for hunt in self.hunts])
        pairs = iter(zip(self.hunts, state.tallies or (), strict=True))
        for row in rows:
            for hunt, tally in islice(pairs, self.each):
                if hunt.found is None:
                    tally.count(row)
        return state

    def merged(self, other: _Count) -> _Count:
        if self.tallies is None or other.tallies is None:
            return other if self.tallies is None else self
        for mine, theirs in zip(self.tallies, other.tallies, strict=True):
            mine.add(theirs)
        return self

    def finished(self) -> tuple[Kth, ...] | Again:
        pairs = zip(self.hunts, self.tallies or (), strict=True)
        hunts = tuple(hunt if hunt.found else hunt.after(tally) for hunt, tally in pairs)
        found = tuple(hunt.found for hunt in hunts if hunt.found is not None)
        return found if len(found) == len(hunts) else Again(_Count(hunts, self.each))
