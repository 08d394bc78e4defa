"""Which units of one network correspond to which of another, found from their weights.

Git Re-Basin, arXiv 2209.04836, for every kind of symmetry: with M the maps of all groups of units, maximise

    sum over weights  <W_A, M(W_B)>

by coordinate descent. For one group, all others held still, the best map is known in closed form (solving.py) from the
inner products of unit i of A with unit j of B, added up over all weights on which the group lies. Where units may turn,
the scales of norms are first folded into what reads them, in both networks; and where they may undergo any invertible
map, both networks are balanced (gauge.py), which leaves rotations to be found.

The descent ends in a local optimum that depends on where it starts. The first start goes from what cannot move (words,
inputs, outputs) inwards: each group is solved from the weights whose other axes are known already, heads by the best
that what lies inside of them could come to. A network that was only moved is found again by that alone. Further starts
leave everything in its place and take the groups in random orders. The best score wins.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import InputError

from .gauge import balance
from .maps import AxisMap, Group, Place, applied, mapped, units
from .solving import best, most, worth

if TYPE_CHECKING:
    from torch import Tensor

_SWEEPS = 100
_GAIN = 1e-12  # a share of the score: less is rounding
_TURN_GAIN = 1e-9  # rotations come nearer and nearer
_NARROW_GAIN = 1e-6  # of scores in float32
_WIDE = 2**28  # numbers; larger networks are compared in float32
_KEPT = 2**28  # numbers of moved weights that are kept in memory
_LEAST_FOLDED = 1e-7
_LEAST_SCALE = 1e-3  # of the largest: a norm's weight near zero cannot be divided by


class Matching(NamedTuple):
    """What brings B to A.

    Args:
        orders: group -> which unit of B takes each place, or a matrix for what writes them; of each copy, if several.
        score: the sum that was maximised.
        scales: group -> weight of a norm -> its numbers in B and in A.
    """

    orders: Mapping[str, Tensor]
    score: float
    scales: Mapping[str, Mapping[str, Tensor]] = {}

    def applied(self, tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> dict[str, Tensor]:
        """B in the coordinates of A."""
        return applied(tensors, self.maps(groups))

    def maps(self, groups: Sequence[Group]) -> list[AxisMap]:
        """In the order in which they are to be applied."""
        return [axis_map(one, self.orders[one.name], self.scales.get(one.name, {})) for one in outer_first(groups)]


def weight_matching(
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    groups: Sequence[Group],
    *,
    seed: int = 0,
    starts: int = 3,
    start: Matching | None = None,
    sweeps: int = _SWEEPS,
) -> Matching:
    """The best of several descents, in float64; in float32, and tensor by tensor, for networks of over 2^28 numbers.

    Args:
        start: where the first descent begins, such as what `activation_matching` found.
        sweeps: over all groups; a descent ends earlier where nothing gains any more.

    Raises:
        InputError: the weights do not have the same shapes.
    """
    shapes = _shapes(a, b, groups)
    found = []
    for number in range(starts):
        pair = _Pair(a, b, groups, shapes)
        if number == 0 and start:
            pair.begin(start)
        elif number == 0:
            _from_what_cannot_move(pair)
        _descend(pair, torch.Generator().manual_seed(seed + number), sweeps)
        found.append((pair.score(), pair.in_coordinates_of_a()))
    score, orders = max(found, key=lambda one: one[0])
    return Matching(orders, score, {group.name: norm_scales(a, b, group) for group in groups if turns(group)})


def _summed(group: Group, each: Iterable[tuple[Place, Tensor, Tensor]]) -> Tensor:
    total = _total(units(one, place) @ units(other, place).mT for place, one, other in each)
    return total if group.copies > 1 else total.sum(0)


class _Pair:
    """Two networks, and how the units of the second are moved so far."""

    def __init__(
        self,
        a: Mapping[str, Tensor],
        b: Mapping[str, Tensor],
        groups: Sequence[Group],
        shapes: Mapping[str, torch.Size],
    ) -> None:
        self.groups = outer_first(groups)
        self.first_seen = {group.name: index for index, group in enumerate(groups)}
        self.large = sum(shape.numel() for shape in shapes.values()) > _WIDE
        dtype = torch.float32 if self.large else torch.float64
        self._stretched = [group for group in self.groups if stretches(group)]
        self.a, self._b = _Folded(a, self.groups, dtype), _Folded(b, self.groups, dtype)
        self._balance = {group.name: balance(self.a, group) for group in self._stretched}
        self.a.move([axis_map(group, self._balance[group.name].to(dtype)) for group in self._stretched])
        self.sizes = {name: shape.numel() for name, shape in shapes.items()}
        self.orders: dict[str, Tensor] = {group.name: unmoved(group, dtype) for group in self.groups}
        self.orders |= {group.name: balance(self._b, group).to(dtype) for group in self._stretched}
        self.inside = {group.name: inside_of(group, self.groups) for group in self.groups}
        self._on: dict[str, list[Group]] = {}
        for group in self.groups:
            for name in dict.fromkeys(place.tensor for place in _compared(group)):
                self._on.setdefault(name, []).append(group)
        self._moved: dict[str, Tensor] = {}

    def b(self, name: str) -> Tensor:
        """A weight of B as it is moved so far."""
        if name in self._moved:
            return self._moved[name]
        value = mapped(name, self._b[name], [axis_map(group, self.orders[group.name]) for group in self._on[name]])
        while self._moved and sum(self.sizes[each] for each in self._moved) + self.sizes[name] > _KEPT:
            self._moved.pop(next(iter(self._moved)))
        self._moved[name] = value
        return value

    def on(self, name: str) -> list[Group]:
        return self._on[name]

    def score(self, names: Sequence[str] | None = None) -> float:
        return sum(float((self.a[name] * self.b(name)).sum()) for name in names or self._on)

    def move(self, group: Group, by: Tensor) -> None:
        """After all that was done so far. What lies inside of units goes with them."""
        self.orders[group.name] = after(self.orders[group.name], by)
        for inner in self.inside[group.name]:
            self.orders[inner.name] = carried(self.orders[inner.name], inner, group, by)
        self.forget([group, *self.inside[group.name]])

    def begin(self, start: Matching) -> None:
        """From these maps; between the balanced networks, from the rotations nearest to them."""
        for group in self.groups:
            move, balanced = start.orders[group.name], self._balance.get(group.name)
            if balanced is not None:
                own = self.orders[group.name]
                move = best(balanced @ move.to(balanced.dtype) @ torch.linalg.inv(own).to(balanced.dtype), group.kind)
                move = move.to(own.dtype) @ own
            self.orders[group.name] = move.to(self.orders[group.name].dtype)
            for inner in self.inside[group.name]:
                self.orders[inner.name] = carried(self.orders[inner.name], inner, group, move)
        self.forget(self.groups)

    def in_coordinates_of_a(self) -> dict[str, Tensor]:
        """What was found between the balanced networks, for A as it was given."""
        back = {name: torch.linalg.inv(each) @ self.orders[name].to(each.dtype) for name, each in self._balance.items()}
        return self.orders | back

    def forget(self, groups: Sequence[Group]) -> None:
        for group in groups:
            for place in group.places:
                self._moved.pop(place.tensor, None)

    def scores(self, group: Group, places: Sequence[Place]) -> Tensor:
        return _summed(group, ((place, self.a[place.tensor], self.b(place.tensor)) for place in places))

    def crossed(self, inner: Group, places: Sequence[Place]) -> Tensor:
        """[copies, copies, size, size]: the scores inside of every copy of A against every copy of B."""
        each = ((units(self.a[place.tensor], place), units(self.b(place.tensor), place)) for place in places)
        return _total(torch.einsum("hdr,ker->hkde", one, other) for one, other in each)


class _Folded(Mapping[str, "Tensor"]):
    """The weights in wide numbers, folded where units may turn."""

    def __init__(self, tensors: Mapping[str, Tensor], groups: Sequence[Group], dtype: torch.dtype) -> None:
        self._tensors, self._dtype = tensors, dtype
        self._maps: dict[str, list[AxisMap]] = {}
        self._by = {place.tensor: place for group in groups if turns(group) for place in group.places if place.scale}

    def move(self, maps: Sequence[AxisMap]) -> None:
        for each in maps:
            for place in each.group.places:
                self._maps.setdefault(place.tensor, []).append(each)

    def __getitem__(self, name: str) -> Tensor:
        value, place = self._tensors[name].to(self._dtype), self._by.get(name)
        if place is not None:
            value = folded(value, place, self._tensors[place.scale])
        return mapped(name, value, self._maps.get(name, ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def folded(value: Tensor, place: Place, scale: Tensor) -> Tensor:
    """What reads scaled units reads them as they were before; the bias of a norm is added before it scales."""
    scale = away_from_zero(scale.to(value.dtype), _LEAST_FOLDED)
    along = scale.reshape([-1 if dim == place.dim else 1 for dim in range(value.ndim)])
    return value / along if place.role == "shifts" else value * along


def _descend(pair: _Pair, generator: torch.Generator, sweeps: int) -> None:
    for _ in range(sweeps):
        order = torch.randperm(len(pair.groups), generator=generator).tolist()
        if pair.large:  # one layer after the other, whose weights are still at hand
            order.sort(key=lambda index: pair.first_seen[pair.groups[index].name])
        gained = [_improve(pair, pair.groups[index]) for index in order]
        if not any(gained):
            break


def _improve(pair: _Pair, group: Group) -> bool:
    if _holds_others(pair, group):
        return _exchanged(pair, group)
    scores = pair.scores(group, _compared(group))
    move = best(scores, group.kind)
    here = scores.diagonal(0, -2, -1).sum()
    least = _least(scores, move) * float(scores.abs().sum())
    if float(worth(scores, move).sum() - here) <= least:
        return False
    pair.move(group, move)
    return True


def _least(scores: Tensor, move: Tensor) -> float:
    if scores.dtype == torch.float32:
        return _NARROW_GAIN
    return _TURN_GAIN if move.is_floating_point() else _GAIN


def _exchanged(pair: _Pair, group: Group) -> bool:
    """Units that others lie in: exchanged as if what lies inside were moved as well as can be, then it is."""
    inner = pair.inside[group.name]
    move = best(_held(pair, group, set(_names(pair.groups))), "permutation")
    if move.equal(unmoved(group)):
        return False
    names = list(dict.fromkeys(place.tensor for one in (group, *inner) for place in one.places))
    before, orders = pair.score(names), dict(pair.orders)
    pair.move(group, move)
    for one in inner:
        _improve(pair, one)
    if pair.score(names) - before > _GAIN * abs(before):
        return True
    pair.orders = orders
    pair.forget([group, *inner])
    return False


def _from_what_cannot_move(pair: _Pair) -> None:
    """Each group from the weights whose other axes are known, the one of which most is known first."""
    known: set[str] = set()
    waiting = list(pair.groups)
    while waiting:
        shares = [_share(pair, group, known) for group in waiting]
        group = waiting.pop(max(range(len(shares)), key=shares.__getitem__))
        if _holds_others(pair, group):
            pair.move(group, best(_held(pair, group, known), "permutation"))
        else:
            places = _anchored(pair, group, known) or _compared(group)
            pair.move(group, best(pair.scores(group, places), group.kind))
        known.add(group.name)


def _held(pair: _Pair, group: Group, known: set[str]) -> Tensor:
    """[size, size] what the units could come to together, whatever is done inside of them."""
    total = torch.zeros(group.size, group.size, dtype=torch.float64)
    for inner in pair.inside[group.name]:
        places = _anchored(pair, inner, known | {group.name})
        if places:
            total += most(pair.crossed(inner, places), inner.kind)
    return total


def _holds_others(pair: _Pair, group: Group) -> bool:
    """Whether the copies of other groups are just the units of this one."""
    inner = pair.inside[group.name]
    return group.copies == 1 and any(one.copies == group.size for one in inner)


def _share(pair: _Pair, group: Group, known: set[str]) -> float:
    inner = pair.inside[group.name] if _holds_others(pair, group) else ()
    counted = [(one, known | {group.name}) for one in inner] or [(group, known)]
    there = sum(pair.sizes[place.tensor] for one, more in counted for place in _anchored(pair, one, more))
    return there / sum(pair.sizes[place.tensor] for one, _ in counted for place in _compared(one))


def _anchored(pair: _Pair, group: Group, known: set[str]) -> list[Place]:
    others = {
        name: {other.name for other in pair.on(name)} - {group.name}
        for name in {place.tensor for place in _compared(group)}
    }
    return [place for place in _compared(group) if others[place.tensor] <= known]


def _compared(group: Group) -> list[Place]:
    """Scales are folded, and so are all ones, where units turn."""
    return [place for place in group.places if place.role != "scales" or not turns(group)]


def turns(group: Group) -> bool:
    return group.kind != "permutation"


def stretches(group: Group) -> bool:
    """Whether its units may grow, so that what reads them has to undo another map than what writes them undergoes."""
    return group.kind in ("invertible", "rotary")


def inside_of(group: Group, groups: Sequence[Group]) -> list[Group]:
    """The groups whose copies are counted by the units of this one."""
    where = {(place.tensor, place.dim, place.factor) for place in group.places}
    return [one for one in groups if one is not group and any(_counts(where, place) for place in one.places)]


def _counts(where: set[tuple[str, int, int]], place: Place) -> bool:
    return any((place.tensor, dim, factor) in where for dim, factor in place.over)


def outer_first(groups: Sequence[Group]) -> list[Group]:
    """Heads before what lies inside of them."""
    depth = {group.name: 0 for group in groups}
    for _ in range(3):
        for group in groups:
            for inner in inside_of(group, groups):
                depth[inner.name] = max(depth[inner.name], depth[group.name] + 1)
    return sorted(groups, key=lambda group: depth[group.name])


def unmoved(group: Group, dtype: torch.dtype = torch.float64) -> Tensor:
    """What moves no unit."""
    one = torch.arange(group.size) if group.kind == "permutation" else torch.eye(group.size, dtype=dtype)
    return one.expand(group.copies, *one.shape).clone() if group.copies > 1 else one


def axis_map(group: Group, move: Tensor, scales: Mapping[str, Tensor] | None = None) -> AxisMap:
    """`move` is what happens to the axes that write the units."""
    return AxisMap(group, move, torch.linalg.inv(move).mT if stretches(group) else move, scales or {})


def after(before: Tensor, by: Tensor) -> Tensor:
    return by.to(before.dtype) @ before if by.is_floating_point() else before.gather(-1, by)


def carried(moves: Tensor, inner: Group, outer: Group, order: Tensor) -> Tensor:
    """The moves of copies whose places are taken by other copies."""
    place = next(one for one in inner.places if one.over)
    lies = {(one.tensor, one.dim, one.factor) for one in outer.places}
    at = next(index for index, (dim, factor) in enumerate(place.over) if (place.tensor, dim, factor) in lies)
    counts = [place.sizes[factor] if dim == place.dim else -1 for dim, factor in place.over]
    seen = moves.reshape(*counts, *moves.shape[1:])
    return seen.index_select(at, order).reshape(moves.shape)


def norm_scales(a: Mapping[str, Tensor], b: Mapping[str, Tensor], group: Group) -> dict[str, Tensor]:
    """What every norm's weight is in B, and what it shall be: that of A; both kept away from zero."""
    found = {}
    for name in (place.tensor for place in group.places if place.role == "scales"):
        old, new = away_from_zero(b[name].double(), _LEAST_FOLDED), away_from_zero(a[name].double(), _LEAST_SCALE)
        found[name] = torch.stack([old, new])
    return found


def away_from_zero(numbers: Tensor, share: float) -> Tensor:
    """What is nearer to zero than that share of the largest becomes that: it can be divided by."""
    least = share * float(numbers.abs().max())
    return torch.where(numbers.abs() < least, least, numbers)


def _total(each: Iterable[Tensor]) -> Tensor:
    return reduce(operator.iadd, each)


def _names(groups: Sequence[Group]) -> list[str]:
    return [group.name for group in groups]


def _shapes(a: Mapping[str, Tensor], b: Mapping[str, Tensor], groups: Sequence[Group]) -> dict[str, torch.Size]:
    found = {name: a[name].shape for name in sorted({place.tensor for group in groups for place in group.places})}
    for name, shape in found.items():
        if shape != b[name].shape:
            raise InputError(
                f"has the shape {list(shape)} in one model and {list(b[name].shape)} in the other",
                where=f"tensor {name}",
                hint="units can only be matched one to one between networks of the same widths.",
            )
    return found
