r"""Screens of experts before they are merged: what of one's task vector is unlike those of its peers.

With tau_k = W_k - W_0 of one tensor, and tau_k,r a row or column of a matrix, four numbers for each expert:

.. math::
    \mathrm{length} = \ln |\tau_k|, \quad
    \mathrm{turn} = \mathrm{mean}_j \frac{\tau_k \cdot \tau_j}{|\tau_k| |\tau_j|}, \quad
    \mathrm{lines} = \max_r \ln \frac{|\tau_{k,r}| + f}{\max_{j \neq k} |\tau_{j,r}| + f}, \quad
    \mathrm{rank} = \sigma_1^2 / |\tau_k|^2

f is the median length of the lines of all experts. `lines` is large where one expert moved a row of a table of
embeddings (a token), or a column (an input), that nobody else moved. Each number less the median of the peers' is the
expert's *excess*; it is told in units of the spread that such excesses have among all experts and tensors (1.4826
times their median size), so that the peers say what is usual. With two peers or fewer they hardly can.

None of it proves anything. A backdoor can be planted in few small steps that no screen sees, and an honest expert that
learned something of its own is unlike its peers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ligate.core.errors import InputError
from ligate.core.tensors import MERGEABLE, Source

from .gathering import Lost, read_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

Screen = Literal["length", "turn", "lines", "rank"]
SCREENS: tuple[Screen, ...] = ("length", "turn", "lines", "rank")

_BLOCK = 1 << 20  # elements of one model at a time
_WIDEST = 2048  # columns of a matrix whose first singular value is looked for
_POWERS = 40
_LEAST = 1e-3  # of spread: what differs by less is the same


class Excess(NamedTuple):
    """How far an expert is beyond its peers, in spreads, and where: `line` is a row or column (`axis` 0 or 1)."""

    expert: int
    screen: Screen
    value: float
    tensor: str
    axis: int | None = None
    line: int | None = None


class Line(NamedTuple):
    value: float
    axis: int
    number: int


@dataclass(frozen=True)
class Screened:
    """`worst` has, for each expert that could be read and each screen, its largest excess."""

    worst: Sequence[Excess]
    lost: Sequence[Lost]  # `model` counts experts from 0


@dataclass
class _Sums:
    """What one pass over a tensor of K experts adds up."""

    products: NDArray[np.float64]  # [K, K]
    rows: list[NDArray[np.float64]]  # squared lengths of the rows [K, n] of one block after the other
    columns: NDArray[np.float64]  # [K, columns] squared lengths
    grams: NDArray[np.float64] | None  # [K, columns, columns]


def screened(base: Source, experts: Sequence[Source], advance: Callable[[int], None] = lambda nbytes: None) -> Screened:
    """Read every tensor that base and experts share once, in blocks, and compare the experts.

    An expert that fails while it is read, or shares no tensor with the base, is listed and left out; so is a single
    tensor of an expert that has another shape there or holds numbers that are not finite.

    Raises:
        InputError: fewer than two experts can be compared, or the base cannot be read.
    """
    lost: list[Lost] = []
    alive = _kin(base, experts, lost)
    found: dict[Screen, list[tuple[str, dict[int, Line]]]] = {screen: [] for screen in SCREENS}
    for name, header in base.headers().items():
        if header.dtype not in MERGEABLE or not header.numel:
            continue
        holders = [one for one in alive if name in experts[one].headers()]
        for one in [one for one in holders if experts[one].headers()[name].shape != header.shape]:
            lost.append(Lost(one, name, f"has shape {list(experts[one].headers()[name].shape)} here"))
        holders = [one for one in holders if experts[one].headers()[name].shape == header.shape]
        sums = _sums(base, experts, name, holders, lost)
        dead = {each.model for each in lost if not each.tensor or each.tensor == name}
        kept = [place for place, one in enumerate(holders) if one not in dead]
        alive = [one for one in alive if not any(one == each.model and not each.tensor for each in lost)]
        if len(kept) > 1:
            for screen, lines in _measured(_of(sums, kept)).items():
                told = {holders[place]: line for place, line in zip(kept, lines, strict=True) if line is not None}
                found[screen].append((name, told))
        advance(header.nbytes * (1 + len(holders)))
    if len(alive) < 2:
        reasons = "".join(f"\n  expert {each.model + 1}: {each.why}" for each in lost if not each.tensor)
        raise InputError(f"fewer than two experts can be compared{reasons}", where="scan",
                         hint="experts are seen against their peers: give two, better four or more.")  # fmt: skip
    gone = set(range(len(experts))) - set(alive)
    worst = [each for screen, told in found.items() for each in _worst(screen, told) if each.expert not in gone]
    return Screened(worst, lost)


def excesses(told: Sequence[Mapping[int, float]]) -> list[dict[int, float]]:
    """Of every tensor: each expert's number less the median of its peers', over the spread of all of these.

    >>> [{k: round(v, 2) for k, v in each.items()} for each in excesses([{0: 1.0, 1: 2.0, 2: 9.0}])]
    [{0: -0.67, 1: -0.45, 2: 1.12}]
    """
    plain = [
        {one: value - float(np.median([each[peer] for peer in each if peer != one])) for one, value in each.items()}
        for each in told
        if len(each) > 1
    ]
    every = np.abs([value for each in plain for value in each.values()])
    spread = max(1.4826 * float(np.median(every)), _LEAST) if len(every) else 1.0
    return [{one: value / spread for one, value in each.items()} for each in plain]


def _worst(screen: Screen, told: Sequence[tuple[str, dict[int, Line]]]) -> Iterator[Excess]:
    several = [(name, each) for name, each in told if len(each) > 1]
    values = excesses([{one: line.value for one, line in each.items()} for _, each in several])
    best: dict[int, Excess] = {}
    for (name, lines), each in zip(several, values, strict=True):
        for one, value in each.items():
            line = lines[one]
            place = (line.axis, line.number) if screen == "lines" else (None, None)
            if one not in best or value > best[one].value:
                best[one] = Excess(one, screen, value, name, *place)
    yield from (best[one] for one in sorted(best))


def _kin(base: Source, experts: Sequence[Source], lost: list[Lost]) -> list[int]:
    shapes = {name: header.shape for name, header in base.headers().items() if header.dtype in MERGEABLE}
    alive: list[int] = []
    for number, expert in enumerate(experts):
        if any(shapes.get(name) == header.shape for name, header in expert.headers().items()):
            alive.append(number)
        else:
            lost.append(Lost(number, "", "shares no tensor of one name and shape with the base"))
    return alive


def _sums(base: Source, experts: Sequence[Source], name: str, holders: Sequence[int], lost: list[Lost]) -> _Sums:
    """Rows together, as many as fit in a block; of what is no matrix the one row in pieces."""
    shape, numel = base.headers()[name].shape, base.headers()[name].numel
    height = shape[0] if len(shape) > 1 else 1
    matrix, width = height > 1, numel // height
    count, failed = len(holders), set[int]()
    wide = not matrix or width > _WIDEST
    sums = _Sums(
        np.zeros((count, count)), [], np.zeros((count, width if matrix else 0)),
        None if wide else np.zeros((count, width, width)),
    )  # fmt: skip
    block = max(1, _BLOCK // width) * width if matrix else _BLOCK
    for start in range(0, numel, block):
        length = min(block, numel - start)
        origin = read_run(base, name, start, length)
        deltas = np.zeros((count, length))
        for place, one in enumerate(holders):
            if one in failed:
                continue
            try:
                deltas[place] = read_run(experts[one], name, start, length) - origin
            except InputError as error:
                failed.add(one)
                lost.append(Lost(one, "", str(error)))
            if not np.isfinite(deltas[place]).all():
                failed.add(one)
                deltas[place] = 0.0
                lost.append(Lost(one, name, "holds numbers that are not finite"))
        _add(sums, deltas, width if matrix else 0)
    return sums


def _add(sums: _Sums, deltas: NDArray[np.float64], width: int) -> None:
    sums.products += deltas @ deltas.T
    if width:
        lying = deltas.reshape(len(deltas), -1, width)
        sums.rows.append((lying**2).sum(2))
        sums.columns += (lying**2).sum(1)
        if sums.grams is not None:
            sums.grams += lying.transpose(0, 2, 1) @ lying


def _of(sums: _Sums, kept: Sequence[int]) -> _Sums:
    """Without the experts that could not be read."""
    grams = None if sums.grams is None else sums.grams[kept]
    return _Sums(sums.products[np.ix_(kept, kept)], [rows[kept] for rows in sums.rows], sums.columns[kept], grams)


def _measured(sums: _Sums) -> dict[Screen, list[Line | None]]:
    """Of every expert its number in each screen; None where there is none."""
    squared = sums.products.diagonal()
    lengths, count = np.sqrt(squared), len(squared)
    moved = [length > 0 for length in lengths]
    scale = np.outer(lengths, lengths)
    cosines = np.divide(sums.products, scale, out=np.zeros_like(scale), where=scale > 0)
    found: dict[Screen, list[Line | None]] = {
        "length": [_plain(np.log(length)) if there else None for length, there in zip(lengths, moved, strict=True)],
        "turn": [_plain((cosines[k].sum() - cosines[k, k]) / (count - 1)) if moved[k] else None for k in range(count)],
    }
    if sums.rows:
        axes = [np.concatenate(sums.rows, 1), sums.columns]
        found["lines"] = [_longest(axes, k) if moved[k] else None for k in range(count)]
    if sums.grams is not None:
        found["rank"] = [_plain(_first(sums.grams[k]) / squared[k]) if moved[k] else None for k in range(count)]
    return found


def _first(gram: NDArray[np.float64]) -> float:
    """About its largest eigenvalue, and never above it: a few dozen steps of the power method."""
    vector = gram[gram.diagonal().argmax()]
    for _ in range(_POWERS):
        vector = gram @ (vector / np.linalg.norm(vector))
    vector = vector / np.linalg.norm(vector)
    return float(vector @ gram @ vector)


def _plain(value: float) -> Line:
    return Line(float(value), 0, 0)


def _longest(axes: Sequence[NDArray[np.float64]], k: int) -> Line:
    """The row or column that expert k moved most beyond all others."""
    best = Line(-np.inf, 0, 0)
    for axis, squared in enumerate(axes):
        lengths = np.sqrt(squared)
        floor = float(np.median(lengths[lengths > 0]))
        peers = np.delete(lengths, k, 0).max(0)
        beyond = np.log((lengths[k] + floor) / (peers + floor))
        number = int(beyond.argmax())
        best = max(best, Line(float(beyond[number]), axis, number))
    return best
